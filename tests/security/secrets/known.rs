//! What no text may show, and the search for it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex};

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use web_session::{SessionId, SessionKey};

/// Texts to look for, and what each of them is. White space means nothing.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<Vec<u8>, String>);

impl Secrets {
    fn form(&mut self, what: &str, form: impl AsRef<[u8]>) {
        self.0.insert(without_space(form.as_ref()), what.to_owned());
    }

    /// Bytes as texts show them: hexadecimal, a list of numbers, base64.
    pub fn bytes(&mut self, what: &str, bytes: &[u8]) {
        let upper: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        self.form(&format!("{what}, hexadecimal"), upper.to_lowercase());
        self.form(&format!("{what}, hexadecimal"), upper);
        let numbers: Vec<_> = bytes.iter().map(u8::to_string).collect();
        self.form(&format!("{what}, as a list"), numbers.join(","));
        self.form(&format!("{what}, base64"), BASE64_STANDARD_NO_PAD.encode(bytes));
        self.form(&format!("{what}, base64"), BASE64_URL_SAFE_NO_PAD.encode(bytes));
    }

    pub fn text(&mut self, what: &str, text: &str) {
        self.form(what, text);
        self.bytes(what, text.as_bytes());
    }

    /// A session id as text and as the 16 bytes that it stands for.
    pub fn id(&mut self, id: &str) {
        self.text("an id", id);
        self.form("an id in upper case", id.to_uppercase());
        let bytes: Vec<u8> =
            (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect();
        self.bytes("an id's bytes", &bytes);
        self.form("an id's bytes", bytes);
    }

    /// The digest of an id: a log may show the beginning of it, and a storage has all of it.
    pub fn digest(&mut self, key: &SessionKey) {
        self.bytes("the digest of an id", key.as_bytes());
        self.form("the digest of an id", key.as_bytes());
    }

    /// An id, and its digest.
    pub fn id_and_digest(&mut self, id: &str) {
        self.id(id);
        self.digest(&id.parse::<SessionId>().unwrap().key());
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The first secret that is found, with what stands around it.
    pub fn find(&self, text: &[u8]) -> Option<String> {
        let text = without_space(text);
        let found = AhoCorasick::new(self.0.keys()).unwrap().find(&text)?;
        let what = self.0.values().nth(found.pattern().as_usize()).unwrap();
        let around = &text[found.start().saturating_sub(200)..text.len().min(found.end() + 40)];
        Some(format!("{what}: {}", String::from_utf8_lossy(around)))
    }

    pub fn assert_hidden(&self, place: &str, text: &str) {
        if let Some(found) = self.find(text.as_bytes()) {
            panic!("{place} shows {found}");
        }
    }
}

fn without_space(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| *byte != b' ' && *byte != b'\n').collect()
}

/// Everything that was shown to somebody: `Debug` and `Display` forms, responses.
#[derive(Debug, Clone, Default)]
pub struct Shown(Arc<Mutex<String>>);

impl Shown {
    pub fn debug(&self, value: &dyn Debug) {
        self.0.lock().unwrap().push_str(&format!("{value:?}\n{value:#?}\n"));
    }

    pub fn text(&self, text: &dyn Display) {
        self.0.lock().unwrap().push_str(&format!("{text}\n"));
    }

    /// An error with all that it says of its causes.
    pub fn error(&self, error: &dyn std::error::Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.debug(&error);
            self.text(&error);
            next = error.source();
        }
    }

    pub fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
