//! Turns the protocol's description into Rust: messages and the server's half of the service.

fn main() -> std::io::Result<()> {
    // The console is compiled into the program: a new one must reach it.
    println!("cargo:rerun-if-changed=../../web/dist/index.html");
    // `Bytes` fields share the request's own memory instead of copying every tensor.
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".inference")
        .codec_path("crate::protocols::oip_grpc::bounded::BoundedCodec")
        .compile_protos(&["proto/open_inference.proto"], &["proto"])
}
