//! A server whose clock is wrong: what it would refuse, and what it would say.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

/// The clock of a store as its clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// So many seconds before the true time; behind it where this is negative.
    pub ahead: i64,
    /// Whether answers have a `Date`. Without, a client cannot find out by how much it is off.
    pub says_date: bool,
}

/// S3 refuses a request that was signed further from its own time (API Reference, "Error
/// responses", RequestTimeTooSkewed).
const TOLERANCE: Duration = Duration::minutes(15);

/// RFC 9110, section 5.6.7: always of one length.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
/// Signature Version 4's `x-amz-date`.
const AMZ_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

impl Clock {
    /// Whether a store with this clock refuses the request, whose head these bytes begin with.
    pub(super) fn refuses(&self, request: &[u8], now: OffsetDateTime) -> bool {
        let head = String::from_utf8_lossy(&request[..head_length(request)]);
        let mut lines = head.split("\r\n");
        let date = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-amz-date")
                .then(|| value.trim())
        });
        let signed = date.and_then(|date| PrimitiveDateTime::parse(date, AMZ_DATE).ok());
        signed.is_some_and(|signed| (signed.assume_utc() - self.at(now)).abs() > TOLERANCE)
    }

    /// The time that this clock shows.
    pub(super) fn at(&self, now: OffsetDateTime) -> OffsetDateTime {
        now + Duration::seconds(self.ahead)
    }

    /// A `Date` line, where this clock's store says one.
    pub(super) fn date_line(&self, now: OffsetDateTime) -> String {
        let date = self.at(now).format(HTTP_DATE).unwrap_or_default();
        match self.says_date {
            true => format!("Date: {date}\r\n"),
            false => String::new(),
        }
    }

    /// Changes the times in an answer's head. It stays as long as it was.
    pub(super) fn change(&self, answer: &mut [u8]) {
        let end = head_length(answer);
        let mut start = 0;
        while start < end {
            let rest = &answer[start..end];
            let line = rest.windows(2).position(|two| two == b"\r\n");
            let length = line.unwrap_or(rest.len());
            self.change_line(&mut answer[start..start + length]);
            start += length + 2;
        }
    }

    fn change_line(&self, line: &mut [u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let is_date = line[..colon].eq_ignore_ascii_case(b"date");
        if !is_date && !line[..colon].eq_ignore_ascii_case(b"last-modified") {
            return;
        }
        if is_date && !self.says_date {
            line[..colon].copy_from_slice(b"gone");
            return;
        }
        let value = line[colon + 1..].trim_ascii();
        let parsed = std::str::from_utf8(value).ok();
        let parsed = parsed.and_then(|text| PrimitiveDateTime::parse(text, HTTP_DATE).ok());
        let shown = parsed.and_then(|time| self.at(time.assume_utc()).format(HTTP_DATE).ok());
        if let Some(shown) = shown {
            let end = line.len();
            line[end - shown.len()..].copy_from_slice(shown.as_bytes());
        }
    }
}

/// Everything before the empty line.
fn head_length(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_signature_is_refused_that_is_far_from_this_clock() {
        let now = datetime!(2026-11-24 18:00:00 UTC);
        let fast = Clock {
            ahead: 3600,
            says_date: true,
        };
        let signed = |time: &str| format!("GET / HTTP/1.1\r\nX-Amz-Date: 20261124T{time}Z\r\n\r\n");
        for (time, refused) in [
            ("180000", true),
            ("184459", true),
            ("184500", false),
            ("190000", false),
            ("191500", false),
            ("191501", true),
        ] {
            assert_eq!(
                fast.refuses(signed(time).as_bytes(), now),
                refused,
                "{time}"
            );
        }
        assert!(!fast.refuses(b"GET / HTTP/1.1\r\n\r\n", now), "unsigned");
    }

    #[test]
    fn an_answers_times_are_this_clocks_and_its_body_is_untouched() {
        let answer = "HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 23:30:00 GMT\r\nLast-Modified: Tue, 24 Nov 2026 18:00:00 GMT\r\n\r\ndate: Tue, 24 Nov 2026 23:30:00 GMT";
        let changed = |ahead, says_date| {
            let mut bytes = answer.as_bytes().to_vec();
            Clock { ahead, says_date }.change(&mut bytes);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            changed(3600, true),
            "HTTP/1.1 200 OK\r\ndate: Wed, 25 Nov 2026 00:30:00 GMT\r\nLast-Modified: Tue, 24 Nov 2026 19:00:00 GMT\r\n\r\ndate: Tue, 24 Nov 2026 23:30:00 GMT"
        );
        assert!(changed(-3600, false).starts_with(
            "HTTP/1.1 200 OK\r\ngone: Tue, 24 Nov 2026 23:30:00 GMT\r\nLast-Modified: Tue, 24 Nov 2026 17:00:00 GMT\r\n"
        ));
    }
}
