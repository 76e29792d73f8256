//! A model must be whole: one file, known by its hash. ONNX lets a file name other files that hold its weights;
//! among content-addressed files such a name would read what belongs to somebody else.

use crate::checks::Said;
use std::path::Path;
use tract_onnx::{
    pb::{AttributeProto, GraphProto, ModelProto, SparseTensorProto, TensorProto, tensor_proto::DataLocation},
    prelude::Framework,
};

/// Graphs inside graphs; a file with deeper ones is refused.
const DEPTH_MAX: usize = 64;

/// Refuses the file of a model that is not whole.
pub(crate) fn check_file(path: &Path) -> Result<(), Said> {
    let content = std::fs::read(path).map_err(|error| Said::new(format!("it cannot be read: {error}")))?;
    let proto = tract_onnx::onnx().proto_model_for_read(&mut &content[..]);
    check(&proto.map_err(|error| Said::new(format!("{error:#}")))?)
}

/// Refuses a model that is not whole.
pub(crate) fn check(model: &ModelProto) -> Result<(), Said> {
    let mut outside = model.graph.iter().any(|it| graph(it, 0));
    outside |= model.functions.iter().flat_map(|it| &it.node).flat_map(|it| &it.attribute).any(|it| attribute(it, 0));
    if outside {
        return Err(Said::new("its weights lie in another file; save it as one file (save_as_external_data=False)"));
    }
    Ok(())
}

fn graph(it: &GraphProto, depth: usize) -> bool {
    depth > DEPTH_MAX
        || it.initializer.iter().any(tensor)
        || it.sparse_initializer.iter().any(sparse)
        || it.node.iter().flat_map(|it| &it.attribute).any(|it| attribute(it, depth))
}

fn attribute(it: &AttributeProto, depth: usize) -> bool {
    it.t.iter().chain(&it.tensors).any(tensor)
        || it.sparse_tensor.iter().chain(&it.sparse_tensors).any(sparse)
        || it.g.iter().chain(&it.graphs).any(|it| graph(it, depth + 1))
}

fn sparse(it: &SparseTensorProto) -> bool {
    it.values.iter().chain(&it.indices).any(tensor)
}

fn tensor(it: &TensorProto) -> bool {
    it.data_location == Some(DataLocation::External as i32) || !it.external_data.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_another_file_are_refused_wherever_they_hide() {
        let outside = TensorProto { data_location: Some(DataLocation::External as i32), ..TensorProto::default() };
        let inner = GraphProto { initializer: vec![outside.clone()], ..GraphProto::default() };
        let node = |attribute| tract_onnx::pb::NodeProto { attribute: vec![attribute], ..Default::default() };
        let hidden = AttributeProto { g: Some(inner.clone()), ..AttributeProto::default() };
        let constant = AttributeProto { t: Some(outside), ..AttributeProto::default() };
        for graph in [
            inner,
            GraphProto { node: vec![node(hidden)], ..GraphProto::default() },
            GraphProto { node: vec![node(constant)], ..GraphProto::default() },
        ] {
            assert!(check(&ModelProto { graph: Some(graph), ..ModelProto::default() }).is_err());
        }
        assert!(check(&ModelProto { graph: Some(GraphProto::default()), ..ModelProto::default() }).is_ok());
    }
}
