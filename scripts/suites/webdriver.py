"""A browser driven by the W3C WebDriver protocol: as much of it as the console's suite needs."""

import base64
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE = 15


class Driver:
    """The program that browsers are driven by; it and they end with the `with` block."""

    def __enter__(self):
        self.browsers = []
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A group of its own: a browser that does not end when told to is in it.
            start_new_session=True,
        )
        for line in self.process.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                self.url = f"http://127.0.0.1:{found[1]}"
                return self
        raise RuntimeError("chromedriver did not start")

    def __exit__(self, *_):
        try:
            for browser in list(self.browsers):
                browser.close()
        finally:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)

    def call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            said = json.load(error)["value"]
            raise WebDriverError(said["error"], said["message"].splitlines()[0]) from None


class WebDriverError(Exception):
    pass


class Browser:
    """One browser with cookies of its own."""

    def __init__(self, driver, scripts=True):
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            "--window-size=1280,860",
        ]
        options = {"args": arguments}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        body = {"capabilities": {"alwaysMatch": capabilities}}
        self.driver = driver
        self.path = f"/session/{driver.call('POST', '/session', body)['sessionId']}"
        driver.browsers.append(self)

    def call(self, method, path, body=None):
        return self.driver.call(method, self.path + path, body)

    def close(self):
        self.driver.browsers.remove(self)
        self.call("DELETE", "")

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    @property
    def url(self):
        return self.call("GET", "/url")

    def find(self, css):
        """The element, as soon as there is one."""
        return wait(lambda: self.all(css), f"{css} at {self.url}")[0]

    def all(self, css):
        found = self.call("POST", "/elements", {"using": "css selector", "value": css})
        return [element[ELEMENT] for element in found]

    def text(self, css):
        return self.call("GET", f"/element/{self.find(css)}/text")

    def click(self, css):
        self.call("POST", f"/element/{self.find(css)}/click")

    def type(self, css, text):
        element = self.find(css)
        self.call("POST", f"/element/{element}/clear")
        self.call("POST", f"/element/{element}/value", {"text": text})

    def choose(self, css, value):
        self.click(f'{css} option[value="{value}"]')

    def press(self, *keys):
        """Keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        keyboard = {"type": "key", "id": "keyboard", "actions": actions}
        self.call("POST", "/actions", {"actions": [keyboard]})

    def cdp(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def evaluate(self, expression):
        """What an expression gives. By the debugger, so that the page's policy stays as it is."""
        answer = self.cdp(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def be(self, width, height, mobile=False, dark=False):
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("GET", "/screenshot")))

    def complaints(self):
        """What the browser wrote into its console since the last question."""
        log = self.call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in log]


def wait(question, what, patience=PATIENCE):
    """The first answer that is something."""
    deadline = time.monotonic() + patience
    while True:
        if answer := question():
            return answer
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(0.1)
