//! The probes: what an actor's keys must be able to do, and everything that they must not.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier, Tag, Tagging};
use model::Actor;

use super::report::Report;
use super::target::{StoreKind, Target};
use super::told::Told;
use super::traversal::Traversal;

/// The doors of one bucket, for one actor and for nobody.
pub(super) struct Probes<'a> {
    mine: Client,
    nobodys: Client,
    bucket: &'a str,
    kind: StoreKind,
    actor: &'a str,
    /// Another actor, which no one is.
    other: String,
    /// A name that nothing has yet.
    scratch: String,
}

pub(super) const BODY: &[u8] = b"artifacts vault provision --verify: may be deleted";

impl<'a> Probes<'a> {
    pub(super) fn new(mine: Client, nobodys: Client, target: &'a Target, actor: &'a Actor) -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            mine,
            nobodys,
            bucket: target.bucket.as_str(),
            kind: target.kind,
            actor: actor.as_str(),
            other: random() + &random(),
            scratch: format!("artifacts-verify-{}.enc", random()),
        }
    }

    /// Everything; the one object that is made is deleted at the end.
    pub(super) async fn run(&self, report: &mut Report) {
        let own = format!("bots/{}/credentials/{}", self.actor, self.scratch);
        self.own(&own, report).await;
        for place in self.places() {
            self.elsewhere(&place, report).await;
        }
        let capitals = self.in_capitals();
        match self.kind {
            StoreKind::SeaweedFs => report.skip(
                format!("PutObject to {capitals} is refused"),
                "SeaweedFS compares names without regard to case; actors have small letters only",
            ),
            _ => self.elsewhere(&capitals, report).await,
        }
        for prefix in self.prefixes() {
            let name = match &prefix {
                Some(prefix) => format!("listing {prefix:?} is refused"),
                None => "listing the whole bucket is refused".to_owned(),
            };
            let call = self.mine.list_objects_v2().bucket(self.bucket);
            let told = Told::of(&call.set_prefix(prefix).send().await);
            report.add(name, denied(&told));
        }
        self.carried(&own, report).await;
        self.traversal().run(report).await;
        self.verbs_of_objects(&own, report).await;
        self.verbs_of_buckets(report).await;
        self.strangers(&own, report).await;
        let call = self.mine.delete_object().bucket(self.bucket).key(&own);
        let told = Told::of(&call.send().await);
        report.add("DeleteObject in the own prefix works", works(&told));
    }

    async fn own(&self, key: &str, report: &mut Report) {
        let call = self.mine.put_object().bucket(self.bucket).key(key);
        let told = Told::of(&call.body(BODY.to_vec().into()).send().await);
        report.add("PutObject in the own prefix works", works(&told));
        let read = self.mine.get_object().bucket(self.bucket).key(key);
        let read = read.send().await;
        let told = Told::of(&read);
        report.add("GetObject in the own prefix works", works(&told));
        let prefix = format!("bots/{}/credentials/", self.actor);
        let call = self.mine.list_objects_v2().bucket(self.bucket);
        let told = Told::of(&call.prefix(prefix).send().await);
        report.add("listing the own prefix works", works(&told));
    }

    /// Keys that are not the actor's.
    fn places(&self) -> Vec<String> {
        let (actor, other, name) = (self.actor, &self.other, &self.scratch);
        vec![
            format!("bots/{other}/credentials/{name}"),
            format!("bots/{actor}/{name}"),
            format!("bots/{actor}/credentials-{name}"),
            format!("bots/{actor}0/credentials/{name}"),
            format!("bots/*/credentials/{name}"),
            format!("bots//credentials/{name}"),
            format!("bots/${{aws:PrincipalTag/artifacts_actor}}/credentials/{name}"),
            name.clone(),
        ]
    }

    /// The own prefix in other letters; what is after it is never a key of the actor's, also
    /// where the actor is of digits alone.
    fn in_capitals(&self) -> String {
        let actor = self.actor.to_uppercase();
        format!("bots/{actor}/CREDENTIALS/{}", self.scratch)
    }

    fn prefixes(&self) -> Vec<Option<String>> {
        let other = &self.other;
        let prefixes = [
            format!("bots/{other}/credentials/"),
            format!("bots/{}/", self.actor),
            "bots/".to_owned(),
            "bots/*/credentials/".to_owned(),
            String::new(),
        ];
        prefixes.into_iter().map(Some).chain([None]).collect()
    }

    fn traversal(&self) -> Traversal<'_> {
        Traversal {
            mine: &self.mine,
            bucket: self.bucket,
            actor: self.actor,
            other: &self.other,
            there: &self.scratch,
            fresh: format!("artifacts-verify-{}.enc", uuid::Uuid::new_v4().simple()),
        }
    }

    async fn elsewhere(&self, key: &str, report: &mut Report) {
        let (mine, bucket) = (&self.mine, self.bucket);
        let put = mine.put_object().bucket(bucket).key(key);
        let told = Told::of(&put.body(BODY.to_vec().into()).send().await);
        report.add(format!("PutObject to {key} is refused"), denied(&told));
        let get = mine.get_object().bucket(bucket).key(key).send().await;
        report.add(
            format!("GetObject of {key} is refused"),
            denied(&Told::of(&get)),
        );
        // Where the first was allowed, this tidies up.
        let delete = mine.delete_object().bucket(bucket).key(key).send().await;
        report.add(
            format!("DeleteObject of {key} is refused"),
            denied(&Told::of(&delete)),
        );
    }

    /// Other ways to another's object.
    async fn carried(&self, own: &str, report: &mut Report) {
        let (mine, bucket) = (&self.mine, self.bucket);
        let foreign = format!("bots/{}/credentials/{}", self.other, self.scratch);
        let copy = mine.copy_object().bucket(bucket).key(own);
        let copy = copy.copy_source(format!("{bucket}/{foreign}")).send().await;
        report.add(
            "CopyObject from another's prefix is refused",
            denied(&Told::of(&copy)),
        );
        let copy = mine.copy_object().bucket(bucket).key(&foreign);
        let copy = copy.copy_source(format!("{bucket}/{own}")).send().await;
        report.add(
            "CopyObject to another's prefix is refused",
            denied(&Told::of(&copy)),
        );
        let begun = mine.create_multipart_upload().bucket(bucket).key(&foreign);
        let begun = begun.send().await;
        report.add(
            "CreateMultipartUpload in another's prefix is refused",
            denied(&Told::of(&begun)),
        );
        let id = begun.ok().and_then(|begun| begun.upload_id);
        if let Some(id) = id {
            let abort = mine.abort_multipart_upload().bucket(bucket).key(&foreign);
            // The check has failed already; what it left is taken back where that is allowed.
            let _ = abort.upload_id(id).send().await;
        }
        let found = self.mass_delete(&foreign).await;
        report.add("DeleteObjects in another's prefix is refused", found);
    }

    /// This call answers for each key.
    async fn mass_delete(&self, key: &str) -> Result<(), String> {
        let object = ObjectIdentifier::builder().key(key).build();
        let delete = object.and_then(|object| Delete::builder().objects(object).build());
        let delete = delete.map_err(|error| error.to_string())?;
        let call = self
            .mine
            .delete_objects()
            .bucket(self.bucket)
            .delete(delete);
        let answer = match call.send().await {
            Ok(answer) => answer,
            refused => return denied(&Told::of(&refused)),
        };
        let code = answer.errors().first().and_then(|error| error.code());
        match (answer.deleted().is_empty(), code) {
            (true, Some("AccessDenied")) => Ok(()),
            (true, code) => Err(format!(
                "refused otherwise than with AccessDenied: {}",
                code.unwrap_or("no code")
            )),
            (false, _) => Err("it was allowed".to_owned()),
        }
    }

    /// What the role may not do to its own objects either.
    async fn verbs_of_objects(&self, own: &str, report: &mut Report) {
        let (mine, bucket) = (&self.mine, self.bucket);
        let mut refused = |verb: &str, told: Told| {
            report.add(
                format!("{verb} is refused in the own prefix too"),
                denied(&told),
            );
        };
        let call = mine.get_object_acl().bucket(bucket).key(own);
        refused("GetObjectAcl", Told::of(&call.send().await));
        let call = mine.get_object_tagging().bucket(bucket).key(own);
        refused("GetObjectTagging", Told::of(&call.send().await));
        let tag = Tag::builder().key("k").value("v").build();
        let tags = tag.and_then(|tag| Tagging::builder().tag_set(tag).build());
        if let Ok(tags) = tags {
            let call = mine.put_object_tagging().bucket(bucket).key(own);
            refused(
                "PutObjectTagging",
                Told::of(&call.tagging(tags).send().await),
            );
        }
        let call = mine.delete_object_tagging().bucket(bucket).key(own);
        refused("DeleteObjectTagging", Told::of(&call.send().await));
        let call = mine.list_object_versions().bucket(bucket).prefix(own);
        refused("ListObjectVersions", Told::of(&call.send().await));
        let call = mine.list_multipart_uploads().bucket(bucket).prefix(own);
        refused("ListMultipartUploads", Told::of(&call.send().await));
    }

    /// None of these changes anything where it is allowed: the bucket is not empty, and the
    /// policy that is sent is none.
    async fn verbs_of_buckets(&self, report: &mut Report) {
        let (mine, bucket) = (&self.mine, self.bucket);
        let mut refused = |verb: &str, told: Told| {
            report.add(format!("{verb} is refused"), denied(&told));
        };
        let call = mine.get_bucket_location().bucket(bucket);
        refused("GetBucketLocation", Told::of(&call.send().await));
        let call = mine.get_bucket_versioning().bucket(bucket);
        refused("GetBucketVersioning", Told::of(&call.send().await));
        let call = mine.get_bucket_acl().bucket(bucket);
        refused("GetBucketAcl", Told::of(&call.send().await));
        let call = mine.get_bucket_policy().bucket(bucket);
        refused("GetBucketPolicy", Told::of(&call.send().await));
        let call = mine.put_bucket_policy().bucket(bucket).policy("{}");
        refused("PutBucketPolicy", Told::of(&call.send().await));
        let call = mine.get_bucket_lifecycle_configuration().bucket(bucket);
        refused(
            "GetBucketLifecycleConfiguration",
            Told::of(&call.send().await),
        );
        let call = mine.delete_bucket().bucket(bucket);
        refused("DeleteBucket", Told::of(&call.send().await));
        let listed = mine.list_buckets().send().await;
        // SeaweedFS answers everybody, with the buckets that one may list.
        let none = listed
            .as_ref()
            .is_ok_and(|listed| listed.buckets().is_empty());
        match self.kind == StoreKind::SeaweedFs && none {
            true => report.add("ListBuckets shows none", Ok(())),
            false => report.add("ListBuckets is refused", denied(&Told::of(&listed))),
        }
    }

    /// Nobody in particular.
    async fn strangers(&self, own: &str, report: &mut Report) {
        let call = self.nobodys.get_object().bucket(self.bucket).key(own);
        let told = Told::of(&call.send().await);
        report.add("GetObject without a signature is refused", denied(&told));
        let call = self.nobodys.list_objects_v2().bucket(self.bucket);
        let told = Told::of(&call.send().await);
        report.add("listing without a signature is refused", denied(&told));
    }
}

fn works(told: &Told) -> Result<(), String> {
    match told {
        Told::Done => Ok(()),
        other => Err(other.shown()),
    }
}

fn denied(told: &Told) -> Result<(), String> {
    match told {
        told if told.is_denied() => Ok(()),
        Told::Done => Err("it was allowed: something grants more than the plan's policies".into()),
        other => Err(format!(
            "refused otherwise than with AccessDenied, which may hide that it is allowed: {}",
            other.shown()
        )),
    }
}
