"""Plants broad grants beside the vault's own at a store, and looks that `vault provision --verify` names them.

vault_isolation.py READY ARTIFACTS: READY is what `artifactsd dev` said of itself; the storage keys are those
of ARTIFACTS_S3_*. Writes one line for each case to the file in RESULT.
"""

import json
import os
import subprocess
import sys
import time
import traceback

import boto3
from botocore.client import Config

ROLE = "artifacts-vault"


class Suite:
    def __init__(self, ready, artifacts):
        with open(ready) as file:
            self.ready = json.load(file)
        self.artifacts, self.failed = artifacts, 0
        self.bucket = self.ready["vault"]["bucket"]
        keys = {"aws_access_key_id": os.environ["ARTIFACTS_S3_ACCESS_KEY_ID"],
                "aws_secret_access_key": os.environ["ARTIFACTS_S3_SECRET_ACCESS_KEY"]}
        place = {"endpoint_url": self.ready["endpoint"], "region_name": "us-east-1"}
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        self.s3 = boto3.client("s3", config=config, **place, **keys)
        self.iam = boto3.client("iam", config=config, **place, **keys)

    def run(self):
        for case in [
            self.dev_s_role_holds_with_the_broker_s_own_token,
            self.what_dev_makes_is_the_plan,
            self.inline_policy_beside_is_named,
            self.attached_policy_beside_is_named,
            self.statement_of_the_bucket_s_policy_is_named,
            self.trust_without_the_tag_is_named,
            self.lost_bucket_policy_opens_what_was_planted,
            self.dev_s_role_holds_again,
        ]:
            self.report(case)

    def report(self, case):
        name = "isolation: " + case.__name__.replace("_s_", "'s ").replace("_", " ")
        begun = time.monotonic()
        try:
            case()
            line = f"pass {name} ({time.monotonic() - begun:.1f} s)"
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            line = f"fail {name}: {' '.join(str(error).split())[:500]}"
        print(line, file=sys.stderr)
        with open(os.environ["RESULT"], "a") as result:
            print(line, file=result)

    def provision(self, *words):
        done = subprocess.run([self.artifacts, "vault", "provision", *words, "--format", "json"],
                              capture_output=True, text=True, timeout=120)
        try:
            return done.returncode, json.loads(done.stdout), done.stderr
        except ValueError:
            raise AssertionError(f"vault provision {' '.join(words)}: exit {done.returncode}: {done.stderr[-600:]}") from None

    def holds(self):
        code, checks, said = self.provision("--verify")
        failed = [check for check in checks if check["verdict"] != "passed"]
        assert code == 0 and not failed, f"exit {code}: {failed[:5]} {said[-300:]}"
        assert len(checks) >= 85, f"only {len(checks)} checks"
        left = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        assert not left, f"left behind: {[one['Key'] for one in left]}"

    def fails(self, *named, other=()):
        """Verify fails, for exactly these reasons: each failed check holds one of the texts, and each
        text is held by one; `other` texts may be there."""
        code, checks, said = self.provision("--verify")
        failed = [f"{one['name']}: {one['reason']}" for one in checks if one["verdict"] == "failed"]
        assert code == 1, f"exit {code}: {said[-300:]}"
        for text in named:
            assert any(text in one for one in failed), f"nothing says {text!r}: {failed}"
        strange = [one for one in failed if not any(text in one for text in (*named, *other))]
        assert not strange, f"failed besides: {strange}"

    def broad(self, action="s3:*", **more):
        return {"Sid": "Planted", "Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::{self.bucket}/*", **more}

    # The cases. Each takes back what it planted.

    def dev_s_role_holds_with_the_broker_s_own_token(self):
        issuer = self.ready["vault"]["broker"]
        assert issuer.startswith("http://127.0.0.1:"), issuer
        self.holds()

    def what_dev_makes_is_the_plan(self):
        code, steps, said = self.provision("--apply")
        outcomes = {step["title"]: step["outcome"] for step in steps}
        assert code == 0, said
        assert len(outcomes) == 5 and set(outcomes.values()) == {"already so"}, outcomes

    def inline_policy_beside_is_named(self):
        document = json.dumps({"Version": "2012-10-17", "Statement": [self.broad()]})
        self.iam.put_role_policy(RoleName=ROLE, PolicyName="planted", PolicyDocument=document)
        # The probes still pass, but those of verbs that the bucket's policy leaves to the role.
        self.fails("broader by: inline policy planted", other=["is refused in the own prefix too: it was allowed"])
        self.iam.delete_role_policy(RoleName=ROLE, PolicyName="planted")

    def attached_policy_beside_is_named(self):
        document = json.dumps({"Version": "2012-10-17", "Statement": [self.broad("s3:GetObject")]})
        arn = self.iam.create_policy(PolicyName="planted", PolicyDocument=document)["Policy"]["Arn"]
        self.iam.attach_role_policy(RoleName=ROLE, PolicyArn=arn)
        self.fails(f"broader by: attached policy {arn}")
        self.iam.detach_role_policy(RoleName=ROLE, PolicyArn=arn)
        self.iam.delete_policy(PolicyArn=arn)

    def statement_of_the_bucket_s_policy_is_named(self):
        own = self.s3.get_bucket_policy(Bucket=self.bucket)["Policy"]
        policy = json.loads(own)
        policy["Statement"].append(self.broad("s3:GetObject", Principal="*"))
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(policy))
        self.fails("it has other statements: Planted")
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=own)

    def trust_without_the_tag_is_named(self):
        own = self.iam.get_role(RoleName=ROLE)["Role"]["AssumeRolePolicyDocument"]
        trust = json.loads(json.dumps(own))
        statement = trust["Statement"]
        del (statement[0] if isinstance(statement, list) else statement)["Condition"]["StringLike"]
        self.iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=json.dumps(trust))
        self.fails(f"role {ROLE} trusts tagged tokens of the issuer only: it is another")
        self.iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=json.dumps(own))

    def lost_bucket_policy_opens_what_was_planted(self):
        own = self.s3.get_bucket_policy(Bucket=self.bucket)["Policy"]
        document = json.dumps({"Version": "2012-10-17", "Statement": [self.broad("s3:GetObject")]})
        self.iam.put_role_policy(RoleName=ROLE, PolicyName="planted", PolicyDocument=document)
        self.s3.delete_bucket_policy(Bucket=self.bucket)
        # Now tokens of one actor read every name, which the probes see by themselves.
        self.fails("the bucket has no policy", "broader by: inline policy planted", "GetObject of bots/",
                   other=["GetObject of", "CopyObject from another's prefix"])
        self.iam.delete_role_policy(RoleName=ROLE, PolicyName="planted")
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=own)

    def dev_s_role_holds_again(self):
        self.holds()


suite = Suite(*sys.argv[1:])
suite.run()
sys.exit(1 if suite.failed else 0)
