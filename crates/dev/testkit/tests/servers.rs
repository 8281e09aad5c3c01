//! The real servers come up, answer, and are gone with the value that holds them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::TcpStream;

use artifacts_testkit::juicefs::Gateway;
use artifacts_testkit::seaweedfs::SeaweedFs;
use artifacts_testkit::tools::Tool;
use artifacts_testkit::{require, s3};
use aws_sdk_s3::primitives::ByteStream;

#[tokio::test]
async fn seaweedfs_honours_if_none_match_and_survives_a_stop() {
    let _ = require!(Tool::Weed);
    let mut server = SeaweedFs::start().unwrap();
    server.create_bucket("kit").unwrap();
    let client = s3::client(&server.endpoint());
    let put = || {
        let body = ByteStream::from_static(b"once");
        client
            .put_object()
            .bucket("kit")
            .key("a//b")
            .if_none_match("*")
            .body(body)
            .send()
    };
    put().await.unwrap();
    let refused = put().await.unwrap_err();
    assert_eq!(
        refused.raw_response().map(|r| r.status().as_u16()),
        Some(412)
    );

    server.stop();
    assert!(
        TcpStream::connect(server.address()).is_err(),
        "the port is closed"
    );
    server.start_again().unwrap();
    let object = client
        .get_object()
        .bucket("kit")
        .key("a//b")
        .send()
        .await
        .unwrap();
    assert_eq!(
        object.body.collect().await.unwrap().into_bytes().as_ref(),
        b"once"
    );

    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
}

#[tokio::test]
async fn an_unknown_bucket_of_seaweedfs_is_an_error() {
    let _ = require!(Tool::Weed);
    let server = SeaweedFs::start().unwrap();
    let client = s3::client(&server.endpoint());
    let body = ByteStream::from_static(b"x");
    let put = client
        .put_object()
        .bucket("nowhere")
        .key("k")
        .body(body)
        .send()
        .await;
    let code = put.unwrap_err().into_service_error();
    assert_eq!(code.meta().code(), Some("NoSuchBucket"));
}

#[tokio::test]
async fn the_juicefs_gateway_ignores_if_none_match() {
    let _ = require!(Tool::Juicefs);
    let server = Gateway::start().unwrap();
    server.create_bucket("kit").unwrap();
    let client = s3::client(&server.endpoint());
    for _ in 0..2 {
        let body = ByteStream::from_static(b"again");
        client
            .put_object()
            .bucket("kit")
            .key("k")
            .if_none_match("*")
            .body(body)
            .send()
            .await
            .unwrap();
    }
}
