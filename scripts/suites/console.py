"""The console in a browser, with an external OpenID Connect provider and a real store.

console.py LAB: LAB is a file that says where everything is. Writes one line for each case to the
file in RESULT.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError
from webdriver import Browser, Driver, wait

TAB, ENTER = "\ue004", "\ue007"
PHONE = 375


class Skipped(Exception):
    """The case cannot be tried here, and why."""


class Suite:
    def __init__(self, lab, driver):
        self.lab, self.driver = lab, driver
        self.home = lab["console"]
        self.ada = Browser(driver)
        self.failed = 0

    def run(self):
        for case in [
            self.login_by_an_external_provider,
            self.workspace_created_by_a_form,
            self.device_approved_with_the_keyboard_alone,
            self.key_issued_and_revoked,
            self.lag_of_a_mount_changes_by_itself,
            self.what_waits_in_a_real_mount_is_shown,
            self.works_without_scripts,
            self.accessible_on_every_page,
            self.no_page_scrolls_sideways_at_any_width,
            self.policy_was_never_in_the_way,
        ]:
            self.report(case)
        if folder := os.environ.get("SCREENSHOTS"):
            self.screenshots(folder)
        self.report(self.signed_out)

    def report(self, case):
        name = "console: " + case.__name__.replace("_", " ")
        begun = time.monotonic()
        try:
            case()
            line = f"pass {name} ({time.monotonic() - begun:.1f} s)"
        except Skipped as reason:
            line = f"skip {name}: {reason}"
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            line = f"fail {name}: {' '.join(str(error).split())[:500]}"
        print(line, file=sys.stderr)
        with open(os.environ["RESULT"], "a") as result:
            print(line, file=result)

    # The server, as programs ask it.

    def ask(self, method, path, token="", body=None, form=None):
        """Status and answer."""
        data, kind = None, "application/json"
        if body is not None:
            data = json.dumps(body).encode()
        if form is not None:
            data, kind = urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded"
        request = urllib.request.Request(self.home + path, data, method=method)
        request.add_header("content-type", kind)
        if token:
            request.add_header("authorization", f"Bearer {token}")
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read()
        return answer.status, json.loads(text) if text else None

    def good(self, *arguments, **named):
        status, answer = self.ask(*arguments, **named)
        assert status in (200, 201, 204), (status, answer)
        return answer

    def operator(self):
        """A session of the first operator."""
        if not hasattr(self, "_operator"):
            token = {"token": self.lab["bootstrap"]}
            self._operator = self.good("POST", "/bootstrap", body=token)["access_token"]
        return self._operator

    # The cases, each going on where the one before ended.

    def login_by_an_external_provider(self):
        ada = self.ada
        ada.go(self.home + "/console/workspaces")
        assert ada.text("h1") == "Sign in", ada.url
        ada.click("a.button")
        assert ada.url.startswith(self.lab["issuer"]), ada.url
        ada.type("input[name=login]", "ada")
        ada.type("input[name=password]", "any")
        ada.click("button[type=submit]")
        # The provider asks whether the console may know who this is.
        wait(lambda: ada.all("input[name=prompt][value=consent]"), "the consent page")
        ada.click("button[type=submit]")
        wait(lambda: ada.url.startswith(self.home), "back at the console")
        ada.go(self.home)
        assert ada.text("#nowhere") == "You are in no tenant"
        owner = {"issuer": self.lab["issuer"], "subject": "ada"}
        tenant = {"handle": "ada", "display_name": "Ada Lovelace & Co.", "owner": owner}
        self.tenant = self.good("POST", "/tenants", self.operator(), tenant)["tenant_id"]
        ada.go(self.home)
        assert ada.text("#here") == "Tenant ada"
        # The token is nowhere that a script could read it.
        assert ada.evaluate("document.cookie") == ""

    def workspace_created_by_a_form(self):
        ada = self.ada
        ada.go(self.home + "/console/workspaces")
        ada.type("#name", "cases")
        ada.click("main form button.primary")
        assert ada.text(".note.good") == "The workspace was created."
        assert ada.text("h1") == "ada/cases"

    def device_approved_with_the_keyboard_alone(self):
        ada = self.ada
        asked = {"client_id": "artifacts", "machine": "laptop of Ada"}
        device = self.good("POST", "/oauth/device_authorization", form=asked)
        exchange = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "client_id": "artifacts",
            "device_code": device["device_code"],
        }
        status, answer = self.ask("POST", "/oauth/token", form=exchange)
        assert (status, answer["error"]) == (400, "authorization_pending"), answer
        assert device["verification_uri"] == self.home + "/device"
        ada.go(device["verification_uri"])
        self.tab_to("#user_code")
        ada.press(*device["user_code"].replace("-", "").lower(), ENTER)
        wait(lambda: ada.all("#machine"), "the machine's page")
        assert ada.text("#machine") == "laptop of Ada"
        assert ada.text("#code") == device["user_code"]
        # The link that the machine shows leads to the same page.
        ada.go(device["verification_uri_complete"])
        assert ada.text("#code") == device["user_code"]
        self.keep_shot("device")
        self.tab_to("button[value=approve]")
        ada.press(ENTER)
        said = wait(lambda: ada.all("[role=status]"), "the news") and ada.text("[role=status]")
        assert said == "laptop of Ada is let in. You can go back to it.", said
        time.sleep(device["interval"] + 0.5)
        self.machine = self.good("POST", "/oauth/token", form=exchange)["access_token"]
        me = self.good("GET", "/whoami", self.machine)
        assert (me["handle"], me["identity"]["operator"]) == ("ada", False), me

    def tab_to(self, css):
        """By the tab key, from the page's beginning; every stop on the way is seen."""
        ada = self.ada
        ada.evaluate("document.activeElement.blur()")
        for _ in range(40):
            ada.press(TAB)
            seen = ada.evaluate(
                "(() => { const e = document.activeElement, s = getComputedStyle(e);"
                " const r = e.getBoundingClientRect();"
                " return [s.outlineStyle, parseFloat(s.outlineWidth), r.top >= 0, r.width > 0]; })()"
            )
            assert seen[0] == "solid" and seen[1] >= 2 and seen[2] and seen[3], seen
            if ada.evaluate(f"document.activeElement.matches({json.dumps(css)})"):
                return
        raise AssertionError(f"the tab key does not lead to {css}")

    def key_issued_and_revoked(self):
        ada = self.ada
        ada.go(self.home + "/console/keys")
        ada.type("#description", "the build machine")
        ada.choose("#mode", "rw")
        ada.click("main form button.primary")
        wait(lambda: ada.all("#secret-key"), "the key's page")
        key = {name: ada.text(f"#{name}") for name in ("access-key", "secret-key", "bucket", "endpoint", "region")}
        store = boto3.client(
            "s3",
            endpoint_url=key["endpoint"],
            region_name=key["region"],
            aws_access_key_id=key["access-key"],
            aws_secret_access_key=key["secret-key"],
            config=Config(retries={"max_attempts": 1}),
        )
        store.put_object(Bucket=key["bucket"], Key="cases/hello.txt", Body=b"hello")
        body = store.get_object(Bucket=key["bucket"], Key="cases/hello.txt")["Body"].read()
        assert body == b"hello"
        ada.go(self.home + "/console/keys")
        page = ada.evaluate("document.documentElement.outerHTML")
        assert key["access-key"] in page and key["secret-key"] not in page
        ada.click(".confirm summary")
        ada.click(".confirm button.danger")
        assert ada.text("[role=status]") == "The key was revoked."
        begun = time.monotonic()
        while True:
            try:
                store.get_object(Bucket=key["bucket"], Key="cases/hello.txt")
            except ClientError as error:
                refusal = error.response
                code = refusal["Error"]["Code"], refusal["ResponseMetadata"]["HTTPStatusCode"]
                assert code == ("InvalidAccessKeyId", 403), code
                break
            assert time.monotonic() < begun + 5, "the revoked key still opens the store"
            time.sleep(0.1)

    def lag_of_a_mount_changes_by_itself(self):
        ada = self.ada
        found = self.good("GET", "/workspaces/ada/cases", self.machine)
        workspace = found["workspace_id"]
        path = f"/workspaces/{workspace}/mounts/{uuid.uuid4()}"

        def report(last, **more):
            body = {"machine": "laptop of Ada", "mode": "rw", "last_event_id": last, **more}
            self.good("PUT", path, self.machine, body)

        for name in ["a.txt", "b.txt"]:
            body = {"workspace_id": workspace, "changed": [{"key": name}]}
            last = self.good("POST", "/sync", self.machine, body)["last_event_id"]
        report(last - 2, pending=3, pending_bytes=5_000_000, oldest_pending_seconds=7)
        ada.go(self.home + "/console/mounts")
        assert ada.text("[data-behind]") == "2 events", ada.text("[data-behind]")
        assert ada.text("[data-waiting]") == "3 changes, 4.76 MiB, for 7 s"
        self.keep_shot("mounts")
        ada.evaluate("window.sameDocument = true")
        time.sleep(1)
        report(last)
        shown = lambda css: ada.evaluate(f"document.querySelector({json.dumps(css)}).textContent.trim()")
        wait(lambda: shown("[data-behind]") == "up to date", "the new lag", 8)
        assert shown("[data-waiting]") == "nothing"
        assert ada.evaluate("window.sameDocument") is True

    def what_waits_in_a_real_mount_is_shown(self):
        if not os.path.exists("/dev/fuse"):
            raise Skipped("there is no /dev/fuse")
        home = tempfile.mkdtemp(prefix="mount-")
        folder = os.path.join(home, "mnt")
        env = {
            "PATH": os.environ["PATH"], "HOME": home,
            "ARTIFACTS_TOKEN": self.machine, "ARTIFACTS_ORCHESTRATOR_URL": self.home,
        }

        def artifacts(*words):
            command = [self.lab["artifacts"], *words]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            return done.stdout

        artifacts("workspace", "create", "cases")
        artifacts("mount", "cases", folder, "--write-back", "1h")
        try:
            with open(os.path.join(folder, "waits"), "w") as file:
                file.write("x" * 1000)
            self.ada.go(self.home + "/console/mounts")
            machine = socket.gethostname()
            row = f"[...document.querySelectorAll('tbody tr')].find(r => r.textContent.includes({json.dumps(machine)}))"
            shown = lambda: self.ada.evaluate(f"{row}?.querySelector('[data-waiting]')?.textContent.trim() ?? ''")
            wait(lambda: shown().startswith("1 change, 1000 B"), "what waits", 20)
            artifacts("flush", folder)
            wait(lambda: shown() == "nothing", "that nothing waits", 20)
        finally:
            artifacts("unmount", folder)

    def works_without_scripts(self):
        browser = Browser(self.driver, scripts=False)
        try:
            browser.go(self.home + "/console/mounts")
            browser.click("summary")
            browser.type("#token", self.machine)
            browser.click("button.primary")
            wait(lambda: browser.url.endswith("/console/mounts"), "the page that was asked for")
            note = browser.text("[data-live-note]")
            assert note == "Reload the page for newer numbers.", note
            browser.go(self.home + "/console/tokens")
            browser.type("#description", "nightly build")
            browser.click("main form button.primary")
            token = browser.text("#handed-text")
            me = self.good("GET", "/whoami", token)
            assert me["identity"]["kind"] == "service", me
            browser.go(self.home + "/console/tokens")
            browser.click(".confirm summary")
            browser.click(".confirm button.danger")
            assert browser.text("[role=status]").startswith("The service token was revoked")
            assert self.ask("GET", "/whoami", token)[0] == 401
            browser.go(self.home)
            browser.click(".who button")
            assert browser.text("[role=status]") == "You are signed out."
            # The machine's own session was the one that was pasted.
            assert self.ask("GET", "/whoami", self.machine)[0] == 401
        finally:
            browser.close()

    # Every page in every look.

    def pages(self):
        """Pages with something on them, each with the browser of whoever may see it."""
        if not hasattr(self, "root"):
            self.root = Browser(self.driver)
            self.root.go(self.home + "/console/sign-in")
            self.root.click("summary")
            self.root.type("#token", self.operator())
            self.root.click("form button.primary")
            wait(lambda: self.root.all("#you"), "the operator's overview")
            self.fill()
        asked = {"client_id": "artifacts", "machine": "build-7"}
        device = self.good("POST", "/oauth/device_authorization", form=asked)
        code = "/device?user_code=" + device["user_code"]
        own = f"/console/tenants/{self.tenant}"
        stranger = self.stranger
        return [(self.ada, path) for path in ["/", "/console/workspaces", "/console/workspaces/ada/cases",
                "/console/mounts", "/console/keys", "/console/sharing", "/console/tokens",
                "/console/audit", own, "/device", code, "/console/nothing"]] + [
            (self.root, path) for path in ["/", "/console/tenants", own, "/console/audit"]] + [
            (stranger, "/console/sign-in")]

    def fill(self):
        """Something of each kind, made by the pages' forms."""
        self.stranger = Browser(self.driver)
        self.good("POST", "/tenants", self.operator(), {"handle": "grace", "display_name": "Grace Hopper Labs"})
        self.good("POST", "/tenants", self.operator(), {"handle": "byo-archive", "backend": "byo"})
        ada = self.ada
        ada.go(self.home + "/console/workspaces")
        ada.type("#name", "press-photographs-2026")
        ada.click("main form button.primary")
        wait(lambda: "done=workspace-created" in ada.url, "the workspace's page")
        for description in ["laptop of Ada", "nightly backup of the press photographs"]:
            ada.go(self.home + "/console/keys")
            ada.type("#description", description)
            ada.click("main form button.primary")
            wait(lambda: ada.all("#secret-key"), "the key's page")
        ada.go(self.home + "/console/sharing")
        ada.type("#grantee", "grace")
        ada.click('form[action="/console/grants"] button')
        assert ada.text("[role=status]") == "The grant was given."
        ada.type("#ticket-for", "the auditor")
        ada.click('form[action="/console/tickets"] button')
        wait(lambda: ada.all("#handed-text"), "the ticket's page")
        ada.go(self.home + "/console/tokens")
        ada.type("#description", "continuous integration")
        ada.click("main form button.primary")
        wait(lambda: ada.all("#handed-text"), "the token's page")

    def accessible_on_every_page(self):
        with open(self.lab["axe"]) as file:
            axe = file.read()
        found, looked = [], 0
        # A code may be looked at ten times a minute; each look here is one.
        for width, dark in [(1280, False), (PHONE, True)]:
            for browser, path in self.pages():
                browser.be(width, 860, mobile=width == PHONE, dark=dark)
                browser.go(self.home + path)
                browser.evaluate(axe + ";0")
                report = browser.evaluate("axe.run().then(r => ({v: r.violations, p: r.passes.length}))")
                assert report["p"] > 10, "axe looked at nothing"
                looked += 1
                for violation in report["v"]:
                    where = [node["html"] for node in violation["nodes"]]
                    found.append(f"{path} {width} {violation['impact']} {violation['id']}: {where[:2]}")
        assert looked == 2 * 17, looked
        assert not found, "\n".join(found)

    def no_page_scrolls_sideways_at_any_width(self):
        wide = []
        for width in (PHONE, 600, 900, 1024, 1160, 1600):
            for browser, path in self.pages():
                if "user_code" in path and width != PHONE:
                    continue
                browser.be(width, 812, mobile=width == PHONE)
                browser.go(self.home + path)
                seen = browser.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
                if max(seen) > width:
                    wide.append((path, width, seen))
        assert not wide, wide

    def policy_was_never_in_the_way(self):
        said = []
        for browser in (self.ada, self.root, self.stranger):
            lines = [line for line in browser.complaints() if line.startswith(self.home)]
            # The statuses of answers are other cases' business.
            said += [line for line in lines if "the server responded with a status" not in line]
        assert not said, said[:3]
        # It does hold: a script that a page would have in it is not run.
        self.ada.go(self.home)
        self.ada.evaluate(
            "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
            " document.body.append(s); })()"
        )
        assert self.ada.evaluate("window.ran") is None
        assert any("Content Security Policy" in line for line in self.ada.complaints())

    def signed_out(self):
        ada = self.ada
        ada.be(1280, 860)
        ada.go(self.home)
        ada.click(".who button")
        assert ada.text("[role=status]") == "You are signed out."
        ada.go(self.home + "/console/keys")
        assert ada.text("h1") == "Sign in"

    # The pictures of the documentation.

    def keep_shot(self, name):
        if folder := os.environ.get("SCREENSHOTS"):
            self.ada.be(1280, 860)
            self.ada.screenshot(f"{folder}/console-{name}.png")

    def screenshots(self, folder):
        for name, browser, path, look in [
            ("overview", self.ada, "/", {}),
            ("keys", self.ada, "/console/keys", {}),
            ("audit", self.ada, "/console/audit", {"dark": True}),
            ("tenants", self.root, "/console/tenants", {}),
        ]:
            browser.be(1280, 860, **look)
            browser.go(self.home + path)
            browser.screenshot(f"{folder}/console-{name}.png")
        self.ada.be(PHONE, 812, mobile=True)
        self.ada.go(self.home + "/console/keys")
        self.ada.screenshot(f"{folder}/console-phone.png")


def main():
    # So that the browsers are closed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with open(sys.argv[1]) as file:
        lab = json.load(file)
    with Driver() as driver:
        suite = Suite(lab, driver)
        suite.run()
    sys.exit(1 if suite.failed else 0)


main()
