//! The six colours of `hubble`.

/// Colour or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ECMA-48 sequences around the words.
    Always,
    /// The words alone.
    Never,
}

impl Colour {
    pub(super) fn red(self, text: &str) -> String {
        self.paint(31, text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint(32, text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint(33, text)
    }

    pub(super) fn magenta(self, text: &str) -> String {
        self.paint(35, text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint(36, text)
    }

    fn paint(self, code: u8, text: &str) -> String {
        match self {
            Self::Always => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Never => text.to_owned(),
        }
    }
}
