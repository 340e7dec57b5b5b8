"""Allowlist of TensorFlow operations for imported graphs.

A graph can hold operations that read and write files, open connections or call
Python. An operation is allowed if it is known to be a pure function of its
inputs; operations with random numbers are not.
"""

from collections.abc import Iterator
from typing import Any

from fsq.errors import RequestError

_STRUCTURE = """
    Assert Case CheckNumerics Const EnsureShape Identity IdentityN If NoOp PartitionedCall
    Placeholder PreventGradient StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile
    StopGradient While
"""
_SHAPES = """
    BatchToSpaceND BroadcastArgs BroadcastTo Concat ConcatV2 DepthToSpace ExpandDims Fill Gather
    GatherNd GatherV2 InvertPermutation LinSpace MatrixBandPart MatrixDiag MatrixDiagPart
    MatrixDiagV3 MatrixDiagPartV3 MirrorPad OneHot OnesLike Pack Pad PadV2 Range Rank Reshape
    ReverseV2 Roll ScatterNd Shape ShapeN Size Slice SpaceToBatchND SpaceToDepth Split SplitV
    Squeeze StridedSlice TensorScatterUpdate Tile Transpose Unpack Where ZerosLike
"""
_LISTS = """
    TensorListElementShape TensorListFromTensor TensorListGetItem TensorListLength TensorListReserve
    TensorListSetItem TensorListStack
"""
_NUMBERS = """
    Abs Acos Acosh Add AddV2 Asin Asinh Atan Atan2 Atanh Bitcast Cast Ceil ClipByValue Cos Cosh
    Cumprod Cumsum Div DivNoNan Elu Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv FloorMod
    Greater GreaterEqual Inv IsFinite IsInf IsNan LeakyRelu Less LessEqual Log Log1p LogicalAnd
    LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg NotEqual Pow RealDiv Reciprocal
    Relu Relu6 Rint Round Rsqrt Select SelectV2 Selu Sigmoid Sign Sin Sinh Softplus Softsign
    Sqrt Square SquaredDifference Sub Tan Tanh TruncateDiv TruncateMod Xdivy Xlogy
"""
_SUMS = """
    AddN All Any ArgMax ArgMin BatchMatMul BatchMatMulV2 BatchMatMulV3 Cross Einsum
    EuclideanNorm L2Loss LogSoftmax MatMul Max Mean Min Prod Softmax Sum TopKV2
"""
_NETWORKS = """
    AvgPool AvgPool3D BiasAdd BiasAddV1 Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2
    DepthwiseConv2dNative Dilation2D ExtractImagePatches FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 LRN MaxPool MaxPoolV2 QuantizeAndDequantizeV2 QuantizeAndDequantizeV3
    QuantizeAndDequantizeV4 ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    ScaleAndTranslate
"""
SAFE_OPS = frozenset(" ".join([_STRUCTURE, _SHAPES, _LISTS, _NUMBERS, _SUMS, _NETWORKS]).split())
# What a SavedModel needs in addition to hold, save and restore its variables. None of them is left
# once the variables have become constants.
_VARIABLES = """
    AssignVariableOp DisableCopyOnRead MergeV2Checkpoints ReadVariableOp RestoreV2 SaveV2
    ShardedFilename StaticRegexFullMatch StringJoin VarHandleOp VarIsInitializedOp
"""
_SAVED_MODEL_OPS = SAFE_OPS | frozenset(_VARIABLES.split())
# Objects that TensorFlow rebuilds without running any operation.
_SAVED_MODEL_OBJECTS = frozenset(
    {"bare_concrete_function", "captured_tensor", "constant", "function", "user_object", "variable"}
)


def check_graph(graph: Any, where: str, allowed: frozenset[str] = SAFE_OPS) -> None:
    """Checks every operation of a GraphDef, those of its functions included.

    Raises:
      RequestError: One is not allowed.
    """
    if unsafe := sorted({node.op for node in graph_nodes(graph)} - allowed):
        raise RequestError(
            f"{where}: expected a graph that only computes, got the operation {unsafe[0]!r}. "
            "Export a network without it."
        )


def check_saved_model(model: Any, where: str) -> None:
    """Checks a SavedModel proto before TensorFlow loads it.

    Loading runs the initializers of tables and other resources, so these are
    refused; variables are restored without running operations of the file.

    Raises:
      RequestError: It holds more than functions and variables.
    """
    for meta_graph in model.meta_graphs:
        check_graph(meta_graph.graph_def, where, _SAVED_MODEL_OPS)
        nodes = meta_graph.object_graph_def.nodes
        if not nodes:
            raise RequestError(
                f"{where}: expected a SavedModel of TensorFlow 2, got one of TensorFlow 1. "
                "Load it with TensorFlow 2 and save its function again."
            )
        for node in nodes:
            if node.WhichOneof("kind") not in _SAVED_MODEL_OBJECTS or node.saveable_objects:
                raise RequestError(
                    f"{where}: expected a SavedModel of functions and variables, got an object of "
                    f"the kind {node.WhichOneof('kind')!r}. Export the encoder or decoder alone."
                )


def graph_nodes(graph: Any) -> Iterator[Any]:
    """Yields the nodes of a GraphDef and of its functions."""
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
