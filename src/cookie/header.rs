//! Reads session ids from `Cookie` headers.

use http::HeaderValue;
use smallvec::SmallVec;

use super::signing::Signer;
use crate::error::LoadError;
use crate::id::SessionId;

/// How many distinct ids of one request are looked at. A visitor has one; a second comes from
/// another path or host of the same site.
const MAX_IDS: usize = 4;

/// The session cookies of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Presented {
    /// The distinct well-formed ids, in the order of their appearance, at most four.
    pub(crate) ids: SmallVec<[SessionId; 1]>,
    /// Whether there was a cookie of the name, well-formed or not.
    pub(crate) any: bool,
}

impl Presented {
    /// Why there is no session when there is no id.
    pub(crate) fn reason(&self) -> LoadError {
        if self.any { LoadError::Malformed } else { LoadError::NoCookie }
    }
}

/// Reads the cookies named `name` from the `Cookie` headers of a request; HTTP/2 splits them.
///
/// Other cookies may hold any bytes. Whatever is not exactly an id, signed where that is configured, is
/// passed over.
///
/// White space around names and values is a space or a tab (RFC 6265bis, section 5.6) and nothing
/// else that Unicode calls white space: to a user agent a no-break space and `__Host-session` is a
/// name without a prefix, which any host of the site may set.
pub(crate) fn read<'a>(
    headers: impl IntoIterator<Item = &'a HeaderValue>,
    name: &str,
    signer: &Signer,
) -> Presented {
    let mut presented = Presented::default();
    for header in headers {
        for pair in pairs(header.as_bytes()) {
            let Some(value) = value_of(name, pair) else {
                continue;
            };
            presented.any = true;
            let text = signer.open(name, value);
            let Some(id) = text.and_then(|text| SessionId::from_text(&text).ok()) else {
                continue;
            };
            if presented.ids.len() < MAX_IDS && !presented.ids.contains(&id) {
                presented.ids.push(id);
            }
        }
    }
    presented
}

/// The cookies of a header, quickly: other cookies may be long, and most requests ask for nothing.
fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b';', header).chain([header.len()]).map(move |end| {
        let pair = header.get(start..end).unwrap_or_default();
        start = end + 1;
        pair
    })
}

/// The value of a cookie, if it has this name.
fn value_of<'a>(name: &str, pair: &'a [u8]) -> Option<&'a [u8]> {
    let after_name = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
    Some(after_name.trim_ascii_start().strip_prefix(b"=")?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";
    const OTHER: &str = "ffeeddccbbaa99887766554433221100";

    fn read_plain<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Presented {
        read(headers, "sessionID", &Signer::default())
    }

    fn ids(headers: &[&[u8]]) -> Vec<String> {
        let headers: Vec<_> =
            headers.iter().map(|bytes| HeaderValue::from_bytes(bytes).unwrap()).collect();
        read_plain(&headers).ids.iter().map(|id| id.expose().as_str().to_owned()).collect()
    }

    // L1
    #[test]
    fn an_id_is_found_among_other_cookies_and_in_split_headers() {
        let cookie = format!("sessionID={ID}");
        assert_eq!(ids(&[cookie.as_bytes()]), [ID]);
        assert_eq!(ids(&[format!("a=b; {cookie}; c").as_bytes()]), [ID]);
        assert_eq!(ids(&[b"a=b", cookie.as_bytes(), b"c=d"]), [ID]);
        assert_eq!(ids(&[format!("a=\"{cookie}\";{cookie}").as_bytes()]), [ID]);
        assert_eq!(ids(&[&[b"a=\xff\xfe; ".as_slice(), cookie.as_bytes()].concat()]), [ID]);
        assert_eq!(
            ids(&[format!("{cookie}; sessionID={OTHER}; {cookie}").as_bytes()]),
            [ID, OTHER]
        );
    }

    // L1
    #[test]
    fn what_is_not_exactly_an_id_is_passed_over() {
        for value in [
            "",
            "../../../../etc/passwd",
            &ID[1..],
            &format!("{ID}0"),
            &ID.to_uppercase(),
            &format!("\"{ID}\""),
            &format!("{ID}, {ID}"),
            &"a".repeat(8_000),
        ] {
            let header = HeaderValue::from_str(&format!("sessionID={value}")).unwrap();
            let presented = read_plain([&header]);
            assert!(presented.ids.is_empty(), "{value:?}");
            assert!(presented.any, "{value:?}");
        }
        let other_name = format!("sessionid={ID}; xsessionID={ID}; session={ID}");
        assert_eq!(
            read_plain([&HeaderValue::from_str(&other_name).unwrap()]),
            Presented::default()
        );
    }

    // L1
    #[test]
    fn only_spaces_and_tabs_are_white_space_around_a_cookie() {
        assert_eq!(ids(&[format!("a=b;\t sessionID \t=\t {ID} \t").as_bytes()]), [ID]);
        for space in ["\u{85}", "\u{a0}", "\u{1680}", "\u{2003}", "\u{2028}", "\u{3000}"] {
            let of_name = format!("{space}sessionID={ID}; sessionID{space}={ID}");
            let of_name = HeaderValue::from_bytes(of_name.as_bytes()).unwrap();
            assert_eq!(read_plain([&of_name]), Presented::default(), "{space:?}");
            let of_value = format!("sessionID={space}{ID}; sessionID={ID}{space}");
            assert_eq!(ids(&[of_value.as_bytes()]), [""; 0], "{space:?}");
        }
    }

    #[test]
    fn a_flood_of_cookies_yields_four_ids() {
        let flood: Vec<_> = (0..500).map(|n| format!("sessionID={n:032x}")).collect();
        assert_eq!(ids(&[flood.join("; ").as_bytes()]).len(), 4);
    }

    /// What the header means, spelled out: split at semicolons, cut at the first equals sign, trim.
    fn naive(header: &str) -> Vec<&str> {
        let mut ids = Vec::new();
        for pair in header.split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim();
            let is_id = value.len() == 32
                && value.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
            if name.trim() == "sessionID" && is_id && !ids.contains(&value) && ids.len() < 4 {
                ids.push(value);
            }
        }
        ids
    }

    proptest! {
        // L1
        #[test]
        fn reading_agrees_with_a_naive_model(
            pairs in prop::collection::vec(
                prop_oneof![
                    "[ -~]{0,40}",
                    " ?sessionID ?= ?[0-9a-f]{32} ?",
                    "sessionID=[0-9a-fA-F]{30,34}",
                    "(sessionID|session|)=[ -~]{0,40}",
                ],
                0..8,
            ),
        ) {
            let header = pairs.join(";");
            prop_assert_eq!(ids(&[header.as_bytes()]), naive(&header));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(32_u8..=255, 0..200)) {
            if let Ok(header) = HeaderValue::from_bytes(&bytes) {
                let _ = read_plain([&header]);
            }
        }
    }
}
