"""The authors' networks in TensorFlow, under their variable names: random weights, a real checkpoint, its logits.

``python tensorflow_side.py NETWORK OUT SIZE...`` writes OUT.index and OUT.data-*, and OUT.npz with, for each SIZE,
images in [-1, 1] (batch, height, width, RGB) and the logits of the network. What lies in ``written_by_tensorflow/``, to
be read where TensorFlow is not installed, ``python tensorflow_side.py small written_by_tensorflow/small 33`` wrote with
TensorFlow 2.21.
"""

import math
import sys

import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
GENERATOR = np.random.default_rng(0)
AVERAGES: dict[str, tf.Variable] = {}


def variable(name: str, shape: tuple[int, ...], low: float, high: float) -> tf.Tensor:
    """A variable as the checkpoint has it; where averages are kept the network runs on the average."""
    value = GENERATOR.uniform(low, high, shape).astype(np.float32)
    found = tf.get_variable(name, initializer=value)
    if not AVERAGES:
        return found
    average = GENERATOR.uniform(low, high, shape).astype(np.float32)
    return tf.get_variable(f"{name}/ExponentialMovingAverage", initializer=average)


def kernel(name: str, shape: tuple[int, ...]) -> tf.Tensor:
    width = (6 / np.prod(shape[:-1])) ** 0.5
    return variable(name, shape, -width, width)


def smoothrelu(x: tf.Tensor) -> tf.Tensor:
    root = variable("smoothrelu_beta", (1,), 1.0, 3.0)
    beta = tf.square(root)
    return tf.nn.relu(x - tf.log(tf.abs(x) * beta + 1) / beta)


def normed(x: tf.Tensor, scope: str, names: tuple[str, ...], epsilon: float, shape: tuple[int, ...]) -> tf.Tensor:
    channels = int(x.shape[-1])
    with tf.variable_scope(scope):
        gamma, beta, mean, deviation = (
            tf.reshape(variable(name, (*shape, channels), low, high), [channels])
            for name, (low, high) in zip(names, [(0.5, 1.2), (-0.3, 0.3), (-0.3, 0.3), (0.5, 1.5)], strict=True)
        )
    return tf.nn.batch_normalization(x, mean, deviation, beta, gamma, epsilon)


def tensorpack_norm(x: tf.Tensor) -> tf.Tensor:
    return normed(x, "bn", ("gamma", "beta", "mean/EMA", "variance/EMA"), 1e-5, ())


def convolution(x: tf.Tensor, scope: str, out: int, size: int, stride: int, groups: int, activation) -> tf.Tensor:
    """tensorpack's Conv2D: where it strides, padded beforehand by a fixed amount."""
    if stride == 2 and size > 1:
        x = tf.pad(x, [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]])
    with tf.variable_scope(scope):
        weights = kernel("W", (size, size, int(x.shape[-1]) // groups, out))
        padding = "VALID" if stride == 2 and size > 1 else "SAME"
        parts = zip(tf.split(x, groups, 3), tf.split(weights, groups, 3), strict=True)
        x = tf.concat([tf.nn.conv2d(part, w, stride, padding) for part, w in parts], 3)
        return activation(tensorpack_norm(x))


def resnet(
    images: tf.Tensor,
    layers: tuple[int, ...],
    groups: int = 1,
    width: int = 64,
    channels: tuple[int, ...] = (64, 128, 256, 512),
    classes: int = 1000,
) -> tf.Tensor:
    x = convolution(images[..., ::-1], "conv0", 64, 7, 2, 1, smoothrelu)  # OpenCV's order: blue, green, red
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for group, (count, out) in enumerate(zip(layers, channels, strict=True)):
        for block in range(count):
            stride = 2 if block == 0 and group > 0 else 1
            inner = out * (width * groups // 64)
            with tf.variable_scope(f"group{group}"), tf.variable_scope(f"block{block}"):
                y = convolution(x, "conv1", inner, 1, 1, 1, smoothrelu)
                y = convolution(y, "conv2", inner, 3, stride, groups, smoothrelu)
                y = convolution(y, "conv3", 4 * out, 1, 1, 1, tf.identity)
                if int(x.shape[-1]) != 4 * out:
                    x = convolution(x, "convshortcut", 4 * out, 1, stride, 1, tf.identity)
                x = smoothrelu(x + y)
    with tf.variable_scope("linear"):
        features = tf.reduce_mean(x, [1, 2])
        return features @ kernel("W", (int(x.shape[-1]), classes)) + variable("b", (classes,), -0.1, 0.1)


def keras_norm(x: tf.Tensor, number: int) -> tf.Tensor:
    scope = "tpu_batch_normalization" + (f"_{number}" if number else "")
    return normed(x, scope, ("gamma", "beta", "moving_mean", "moving_variance"), 1e-5, (1, 1, 1, 1))


def pointwise(x: tf.Tensor, scope: str, out: int, size: int = 1, stride: int = 1, bias: bool = False) -> tf.Tensor:
    with tf.variable_scope(scope):
        x = tf.nn.conv2d(x, kernel("kernel", (size, size, int(x.shape[-1]), out)), stride, "SAME")
        return x + variable("bias", (out,), -0.1, 0.1) if bias else x


STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192)]


def efficientnet(images: tf.Tensor, width: float, depth: float) -> tf.Tensor:
    """Tan and Le's scaling of B0: channels to the nearest multiple of 8, but not below 90%; repeats rounded up."""

    def scaled(channels: int) -> int:
        nearest = max(8, int(channels * width + 4) // 8 * 8)
        return nearest + 8 if nearest < 0.9 * channels * width else nearest

    AVERAGES["kept"] = tf.get_variable("global_step", initializer=np.int64(7))
    with tf.variable_scope("efficientnet"):
        return efficientnet_layers(images, scaled, depth)


def efficientnet_layers(images: tf.Tensor, scaled, depth: float) -> tf.Tensor:
    with tf.variable_scope("stem"):
        x = tf.nn.swish(keras_norm(pointwise(images, "conv2d", scaled(32), 3, 2), 0))
    index = 0
    for repeats, size, first_stride, expand, out in [*STAGES, (1, 3, 1, 6, 320)]:
        for repeat in range(math.ceil(depth * repeats)):
            with tf.variable_scope(f"blocks_{index}"):
                x = mbconv(x, size, first_stride if repeat == 0 else 1, expand, scaled(out))
            index += 1
    with tf.variable_scope("head"):
        x = tf.nn.swish(keras_norm(pointwise(x, "conv2d", scaled(1280)), 0))
        with tf.variable_scope("dense"):
            features = tf.reduce_mean(x, [1, 2])
            return features @ kernel("kernel", (scaled(1280), 1000)) + variable("bias", (1000,), -0.1, 0.1)


def mbconv(inputs: tf.Tensor, size: int, stride: int, expand: int, out: int) -> tf.Tensor:
    x, channels = inputs, int(inputs.shape[-1])
    if expand != 1:
        x = tf.nn.swish(keras_norm(pointwise(x, "conv2d", channels * expand), 0))
    with tf.variable_scope("depthwise_conv2d"):
        weights = kernel("depthwise_kernel", (size, size, channels * expand, 1))
    x = tf.nn.depthwise_conv2d(x, weights, [1, stride, stride, 1], "SAME")
    x = tf.nn.swish(keras_norm(x, int(expand != 1)))
    with tf.variable_scope("se"):
        squeezed = tf.nn.swish(
            pointwise(tf.reduce_mean(x, [1, 2], keepdims=True), "conv2d", max(1, channels // 4), bias=True)
        )
        x = tf.sigmoid(pointwise(squeezed, "conv2d_1", channels * expand, bias=True)) * x
    x = keras_norm(pointwise(x, "conv2d" if expand == 1 else "conv2d_1", out), 1 + int(expand != 1))
    return x + inputs if stride == 1 and channels == out else x


NETWORKS = {
    "resnet50": lambda images: resnet(images, (3, 4, 6, 3)),
    "resnet101": lambda images: resnet(images, (3, 4, 23, 3)),
    "resnext50_32x4d": lambda images: resnet(images, (1, 1, 1, 1), groups=32, width=4),
    "small": lambda images: resnet(images, (2, 1, 1, 1), channels=(4, 6, 8, 10), classes=5),
    "efficientnet_b0": lambda images: efficientnet(images, 1.0, 1.0),
    "efficientnet_b2": lambda images: efficientnet(images, 1.1, 1.2),
}


def main(name: str, out: str, *sizes: str) -> None:
    images = tf.placeholder(tf.float32, [None, None, None, 3])
    network = NETWORKS[name](images)
    found = {}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for size in map(int, sizes):
            found[f"images{size}"] = GENERATOR.uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
            found[f"logits{size}"] = session.run(network, {images: found[f"images{size}"]})
        tf.train.Saver().save(session, out, write_meta_graph=False)
    np.savez(f"{out}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
