//! What S3 documents, asked for over HTTP.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective,
    ObjectIdentifier,
};
use common::{BUCKET, Lab, plain_get, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_all_three_forms() {
    let lab = Lab::start().await;
    lab.put("k", b"0123456789").await;
    for (range, expected, header) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=8-100", "89", "bytes 8-9/10"),
    ] {
        let got = lab
            .client
            .get_object()
            .bucket(BUCKET)
            .key("k")
            .range(range)
            .send()
            .await
            .unwrap();
        assert_eq!(got.content_range.as_deref(), Some(header));
        assert_eq!(
            got.body.collect().await.unwrap().to_vec(),
            expected.as_bytes(),
            "{range}"
        );
    }
    let past = lab
        .client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .range("bytes=10-")
        .send()
        .await;
    assert_eq!(refusal(past), ("InvalidRange".into(), 416));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_reads() {
    let lab = Lab::start().await;
    let etag = lab.put("k", b"body").await;
    let get = || lab.client.get_object().bucket(BUCKET).key("k");
    assert!(get().if_match(&etag).send().await.is_ok());
    assert_eq!(
        refusal(get().if_match("\"other\"").send().await),
        ("PreconditionFailed".into(), 412)
    );
    assert_eq!(refusal(get().if_none_match(&etag).send().await).1, 304);
    assert!(get().if_none_match("\"other\"").send().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_writes() {
    let lab = Lab::start().await;
    let put = |key: &str| {
        lab.client
            .put_object()
            .bucket(BUCKET)
            .key(key)
            .body(b"new".to_vec().into())
    };
    assert_eq!(
        refusal(put("k").if_match("\"x\"").send().await),
        ("NoSuchKey".into(), 404)
    );
    assert!(put("k").if_none_match("*").send().await.is_ok());
    assert_eq!(
        refusal(put("k").if_none_match("*").send().await),
        ("PreconditionFailed".into(), 412)
    );
    assert_eq!(
        refusal(put("k").if_match("\"x\"").send().await),
        ("PreconditionFailed".into(), 412)
    );
    let delete = lab
        .client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .if_match("\"x\"")
        .send()
        .await;
    assert_eq!(refusal(delete), ("PreconditionFailed".into(), 412));
    assert_eq!(lab.read("k").await, b"new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_makes_no_object() {
    let lab = Lab::start().await;
    let put = || {
        lab.client
            .put_object()
            .bucket(BUCKET)
            .key("k")
            .body(b"body".to_vec().into())
    };
    let md5 = put().content_md5("1B2M2Y8AsgTpgAmY7PhCfg==").send().await;
    assert_eq!(refusal(md5), ("BadDigest".into(), 400));
    let crc = put().checksum_crc32("AAAAAA==").send().await;
    assert_eq!(refusal(crc), ("BadDigest".into(), 400));
    assert_eq!(
        refusal(lab.client.get_object().bucket(BUCKET).key("k").send().await).0,
        "NoSuchKey"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_opaque() {
    let lab = Lab::start().await;
    let long = "é".repeat(512);
    let keys = [
        "a//b",
        "/lead",
        "trail/",
        "..",
        "../../etc/passwd",
        "a/./b",
        "sp ace+%2F",
        "\u{1}\t",
        "日本",
        &long,
        "q?x=1#y&<",
    ];
    for key in keys {
        lab.put(key, b"x").await;
        assert_eq!(lab.read(key).await, b"x", "{key:?}");
    }
    let list = lab
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .encoding_type(EncodingType::Url)
        .send()
        .await
        .unwrap();
    let mut expected: Vec<_> = keys.map(str::to_owned).to_vec();
    expected.sort();
    let found: Vec<_> = list
        .contents()
        .iter()
        .map(|object| decoded(object.key().unwrap()))
        .collect();
    assert_eq!(found, expected);
    let too_long = lab
        .client
        .head_object()
        .bucket(BUCKET)
        .key("k".repeat(1025))
        .send()
        .await;
    assert_eq!(refusal(too_long).1, 400);
    let outside = lab.folder.path().parent().unwrap().join("etc");
    assert!(!outside.exists());
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_v2_and_v1_page_and_roll_up() {
    let lab = Lab::start().await;
    for key in ["a", "b/1", "b/2", "c", "d/1", "e"] {
        lab.put(key, b"x").await;
    }
    let list = || {
        lab.client
            .list_objects_v2()
            .bucket(BUCKET)
            .delimiter("/")
            .max_keys(2)
    };
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let page = list()
            .set_continuation_token(token)
            .fetch_owner(true)
            .send()
            .await
            .unwrap();
        let lines = page.contents().len() + page.common_prefixes().len();
        assert_eq!(usize::try_from(page.key_count.unwrap()).unwrap(), lines);
        assert_eq!(page.is_truncated, Some(lines == 2));
        assert!(
            page.contents()
                .iter()
                .all(|object| object.owner().is_some())
        );
        names.extend(
            page.contents()
                .iter()
                .map(|object| object.key().unwrap().to_owned()),
        );
        names.extend(
            page.common_prefixes()
                .iter()
                .map(|prefix| prefix.prefix().unwrap().to_owned()),
        );
        token = page.next_continuation_token;
        if token.is_none() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, ["a", "b/", "c", "d/", "e"]);
    let first = lab
        .client
        .list_objects()
        .bucket(BUCKET)
        .delimiter("/")
        .max_keys(2)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (first.is_truncated, first.next_marker.as_deref()),
        (Some(true), Some("b/"))
    );
    let rest = lab
        .client
        .list_objects()
        .bucket(BUCKET)
        .delimiter("/")
        .marker("b/")
        .send()
        .await
        .unwrap();
    let keys: Vec<_> = rest
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!((keys, rest.common_prefixes().len()), (vec!["c", "e"], 1));
    let after = lab
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .start_after("b/1")
        .prefix("b/")
        .send()
        .await
        .unwrap();
    assert_eq!(after.contents()[0].key(), Some("b/2"));
    let bad = lab
        .client
        .list_objects_v2()
        .bucket(BUCKET)
        .continuation_token("not hex")
        .send()
        .await;
    assert_eq!(refusal(bad), ("InvalidArgument".into(), 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_keep_or_replace_metadata_under_conditions() {
    let lab = Lab::start().await;
    let put = lab
        .client
        .put_object()
        .bucket(BUCKET)
        .key("from")
        .metadata("colour", "red")
        .content_type("text/plain");
    let etag = put
        .body(b"body".to_vec().into())
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let copy = |to: &str| {
        lab.client
            .copy_object()
            .bucket(BUCKET)
            .key(to)
            .copy_source(format!("{BUCKET}/from"))
    };
    copy("kept")
        .copy_source_if_match(&etag)
        .send()
        .await
        .unwrap();
    let kept = lab
        .client
        .head_object()
        .bucket(BUCKET)
        .key("kept")
        .send()
        .await
        .unwrap();
    assert_eq!(kept.metadata().unwrap()["colour"], "red");
    assert_eq!(kept.content_type(), Some("text/plain"));
    copy("new")
        .metadata_directive(MetadataDirective::Replace)
        .metadata("size", "big")
        .send()
        .await
        .unwrap();
    let new = lab
        .client
        .head_object()
        .bucket(BUCKET)
        .key("new")
        .send()
        .await
        .unwrap();
    assert_eq!(new.metadata().unwrap().len(), 1);
    assert_eq!(new.metadata().unwrap()["size"], "big");
    let wrong = copy("x").copy_source_if_match("\"other\"").send().await;
    assert_eq!(refusal(wrong), ("PreconditionFailed".into(), 412));
    let there = copy("kept").if_none_match("*").send().await;
    assert_eq!(refusal(there), ("PreconditionFailed".into(), 412));
    assert_eq!(
        refusal(copy("from").send().await),
        ("InvalidRequest".into(), 400)
    );
    let nothing = lab
        .client
        .copy_object()
        .bucket(BUCKET)
        .key("y")
        .copy_source(format!("{BUCKET}/no"))
        .send()
        .await;
    assert_eq!(refusal(nothing), ("NoSuchKey".into(), 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_with_a_copied_part() {
    let lab = Lab::start().await;
    let part_size = 5 * 1024 * 1024;
    let source = vec![b'c'; part_size + 10];
    lab.client
        .put_object()
        .bucket(BUCKET)
        .key("source")
        .body(source.into())
        .send()
        .await
        .unwrap();
    let created = lab
        .client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key("k")
        .metadata("m", "v")
        .send()
        .await
        .unwrap();
    let id = created.upload_id.unwrap();
    let copied = lab
        .client
        .upload_part_copy()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id)
        .part_number(1);
    let copied = copied
        .copy_source(format!("{BUCKET}/source"))
        .copy_source_range(format!("bytes=10-{}", part_size + 9));
    let first = copied
        .send()
        .await
        .unwrap()
        .copy_part_result
        .unwrap()
        .e_tag
        .unwrap();
    let sent = lab
        .client
        .upload_part()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id)
        .part_number(7);
    let second = sent
        .body(b"tail".to_vec().into())
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let parts = lab
        .client
        .list_parts()
        .bucket(BUCKET)
        .key("k")
        .upload_id(&id)
        .send()
        .await
        .unwrap();
    assert_eq!(
        parts
            .parts()
            .iter()
            .filter_map(|part| part.part_number())
            .collect::<Vec<_>>(),
        [1, 7]
    );
    let uploads = lab
        .client
        .list_multipart_uploads()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(uploads.uploads()[0].upload_id(), Some(id.as_str()));
    let part = |number, etag: &str| {
        CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .build()
    };
    let complete = |parts: Vec<CompletedPart>| {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        lab.client
            .complete_multipart_upload()
            .bucket(BUCKET)
            .key("k")
            .upload_id(&id)
            .multipart_upload(parts)
            .send()
    };
    assert_eq!(
        refusal(complete(vec![part(7, &second), part(1, &first)]).await).0,
        "InvalidPartOrder"
    );
    assert_eq!(
        refusal(complete(vec![part(1, &second)]).await).0,
        "InvalidPart"
    );
    assert_eq!(
        refusal(complete(vec![part(1, &first), part(2, &second)]).await).0,
        "InvalidPart"
    );
    let done = complete(vec![part(1, &first), part(7, &second)])
        .await
        .unwrap();
    assert!(done.e_tag.unwrap().ends_with("-2\""));
    assert_eq!(
        refusal(complete(vec![part(1, &first)]).await),
        ("NoSuchUpload".into(), 404)
    );
    let seam = lab
        .client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .range(format!("bytes={}-", part_size - 2));
    assert_eq!(
        seam.send()
            .await
            .unwrap()
            .body
            .collect()
            .await
            .unwrap()
            .to_vec(),
        b"cctail"
    );
    assert_eq!(
        lab.client
            .head_object()
            .bucket(BUCKET)
            .key("k")
            .send()
            .await
            .unwrap()
            .metadata()
            .unwrap()["m"],
        "v"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_deleted_with_an_answer_for_each() {
    let lab = Lab::start().await;
    lab.put("a", b"x").await;
    lab.put("b", b"x").await;
    let named = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
    let guarded = ObjectIdentifier::builder()
        .key("b")
        .e_tag("\"other\"")
        .build()
        .unwrap();
    let delete = Delete::builder()
        .objects(named("a"))
        .objects(guarded)
        .objects(named("missing"))
        .build()
        .unwrap();
    let done = lab
        .client
        .delete_objects()
        .bucket(BUCKET)
        .delete(delete)
        .send()
        .await
        .unwrap();
    assert_eq!(
        done.deleted()
            .iter()
            .filter_map(|line| line.key())
            .collect::<Vec<_>>(),
        ["a", "missing"]
    );
    assert_eq!(done.errors()[0].code(), Some("PreconditionFailed"));
    assert_eq!(lab.read("b").await, b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets() {
    let lab = Lab::start().await;
    lab.put("k", b"x").await;
    let full = lab.client.delete_bucket().bucket(BUCKET).send().await;
    assert_eq!(refusal(full), ("BucketNotEmpty".into(), 409));
    let again = lab.client.create_bucket().bucket(BUCKET).send().await;
    assert_eq!(refusal(again), ("BucketAlreadyOwnedByYou".into(), 409));
    lab.client
        .delete_object()
        .bucket(BUCKET)
        .key("k")
        .send()
        .await
        .unwrap();
    lab.client
        .delete_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(
        refusal(lab.client.head_bucket().bucket(BUCKET).send().await).1,
        404
    );
    let put = lab
        .client
        .put_object()
        .bucket(BUCKET)
        .key("k")
        .body(b"x".to_vec().into())
        .send()
        .await;
    assert_eq!(refusal(put), ("NoSuchBucket".into(), 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_needs_no_header_and_runs_out() {
    let lab = Lab::start().await;
    lab.put("k", b"presigned").await;
    let config = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let url = lab
        .client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .presigned(config)
        .await
        .unwrap();
    let answer = plain_get(url.uri()).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("presigned"),
        "{answer}"
    );
    let tampered = url.uri().replace("/k?", "/other?");
    assert!(plain_get(&tampered).await.starts_with("HTTP/1.1 403"));
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(600);
    let config = PresigningConfig::builder()
        .start_time(long_ago)
        .expires_in(Duration::from_secs(60))
        .build()
        .unwrap();
    let old = lab
        .client
        .get_object()
        .bucket(BUCKET)
        .key("k")
        .presigned(config)
        .await
        .unwrap();
    assert!(plain_get(old.uri()).await.starts_with("HTTP/1.1 403"));
}
