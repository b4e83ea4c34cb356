"""What PyTorch leaves in an ONNX graph that others stumble over."""

from typing import Any, Final

from head_detection.inference.extras import import_extra

AXES: Final = ("batch", "height", "width")


def drop_idle_casts(model: Any) -> int:
    """Take out the casts of float32 to float32: nncf cannot do without those before an output.

    Args:
        model: an ``onnx.ModelProto``; changed in place.

    Returns:
        How many.
    """
    onnx = import_extra("onnx")
    graph, float32 = model.graph, onnx.TensorProto.FLOAT
    known = onnx.shape_inference.infer_shapes(model).graph
    floats = {v.name for v in known.value_info if v.type.tensor_type.elem_type == float32}
    outputs = {output.name for output in graph.output}
    made_by = {name: node for node in graph.node for name in node.output}
    idle = [
        node
        for node in graph.node
        if node.op_type == "Cast"
        and onnx.helper.get_node_attr_value(node, "to") == float32
        and node.input[0] in floats
        and node.input[0] in made_by
        and not {node.input[0], node.output[0]} <= outputs
    ]
    for cast in idle:
        before, after = cast.input[0], cast.output[0]
        graph.node.remove(cast)
        if after in outputs:
            names, source = {before: after}, made_by[before]
            source.output[:] = [names.get(name, name) for name in source.output]
            made_by[after] = source
        else:
            names = {after: before}
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
    return len(idle)


def name_axes(model: Any) -> None:
    """Give each free axis of an output its own name: PyTorch calls different ones alike.

    Args:
        model: an ``onnx.ModelProto`` with the outputs of ``output_shapes``; changed in place.
    """
    del model.graph.value_info[:]
    for output in model.graph.output:
        _, _, stride = output.name.rpartition("_")
        for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
            if dimension.HasField("dim_value"):
                continue
            name = AXES[axis] if stride.isdigit() else "proposals"
            dimension.dim_param = f"{name}_{stride}" if axis else name
