//! The scripts: every conditional write is one of them.

use std::sync::LazyLock;

use super::link::Effect;

/// A script, by its text and the digest that servers know it by.
pub(super) struct Script {
    script: redis::Script,
    text: String,
    effect: Effect,
}

impl Script {
    fn new(parts: &[&str], effect: Effect) -> Self {
        let text = parts.concat();
        Self { script: redis::Script::new(&text), text, effect }
    }

    pub(super) fn digest(&self) -> &str {
        self.script.get_hash()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// Whether it changes what is stored.
    pub(super) fn writes(&self) -> bool {
        self.effect == Effect::Once
    }
}

macro_rules! script {
    ($name:ident, $effect:ident, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(&[$(include_str!(concat!("scripts/", $file))),+], Effect::$effect)
        });
    };
}

script!(PLAIN_LOAD, Repeatable, "plain/load.lua", "plain/each.lua");
script!(PLAIN_COMMIT, Once, "plain/commit.lua", "plain/each.lua");
script!(PLAIN_CREATE, Once, "plain/create.lua", "plain/each.lua");
script!(LOAD, Repeatable, "session.lua", "load.lua");
script!(CREATE, Once, "session.lua", "create.lua");
script!(CHECK, Repeatable, "session.lua", "target.lua", "check.lua");
script!(COMMIT, Once, "session.lua", "target.lua", "commit.lua");
script!(REPLACE, Once, "session.lua", "replace.lua");
script!(END, Once, "session.lua", "end.lua");
script!(ALIAS, Once, "alias.lua");
script!(ADD, Repeatable, "add.lua");
script!(DROP, Repeatable, "drop.lua");
script!(UNDO, Repeatable, "undo.lua");
script!(SWAP, Once, "swap.lua");
