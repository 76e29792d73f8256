//! Open Inference Protocol codec, queues and the engine trait.
