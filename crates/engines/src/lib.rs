//! Model engines: tract and ONNX Runtime.
