//! Turns the protocol's description into Rust: messages and the server's half of the service.

fn main() -> std::io::Result<()> {
    // `Bytes` fields share the request's own memory instead of copying every tensor.
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".inference")
        .compile_protos(&["proto/open_inference.proto"], &["proto"])
}
