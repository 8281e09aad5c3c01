//! Where somebody goes once they are signed in: a page of the console and nowhere else.

/// A path of the console, perhaps with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Next(String);

impl Next {
    /// The page that was asked for, or the first one. What a link says is never followed out of
    /// here: neither to another host nor to anything that is no page.
    pub(super) fn read(text: Option<&str>) -> Self {
        let allowed = text.filter(|text| is_page(text));
        Self(allowed.unwrap_or("/").to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a value in a query.
    pub(super) fn query(&self) -> String {
        form_urlencoded::byte_serialize(self.0.as_bytes()).collect()
    }

    /// As a part of a cookie.
    pub(super) fn encoded(&self) -> String {
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(self.0.as_bytes())
    }

    /// From such a part.
    pub(super) fn decoded(text: &str) -> Self {
        let bytes = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Self::read(text.as_deref())
    }
}

fn is_page(text: &str) -> bool {
    let (path, _) = text.split_once('?').unwrap_or((text, ""));
    let known = path == "/" || path == "/device" || path.starts_with("/console/");
    // Nothing that a browser reads otherwise than we do: backslashes, dots, control characters.
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'#');
    known
        && text.len() <= 512
        && text.bytes().all(plain)
        && !path.contains("//")
        && !path.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_console_are_gone_to() {
        for good in [
            "/",
            "/device",
            "/device?user_code=WDJB-MJHT",
            "/console/keys?done=x",
        ] {
            assert_eq!(Next::read(Some(good)).as_str(), good);
            assert_eq!(
                Next::decoded(&Next::read(Some(good)).encoded()).as_str(),
                good
            );
        }
        for bad in [
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "/console//evil.example",
            "/console/../whoami",
            "/console/\\evil.example",
            "javascript:alert(1)",
            "/whoami",
            "/devices",
            "/console/a\r\nSet-Cookie: a=b",
            "/\t/evil.example",
            "evil.example",
            "",
        ] {
            assert_eq!(Next::read(Some(bad)).as_str(), "/", "{bad:?}");
        }
        assert_eq!(Next::read(None).as_str(), "/");
        assert_eq!(Next::decoded("!").as_str(), "/");
    }
}
