//! What options about files look like: `HOST::GUEST:ro`.

use std::path::PathBuf;

use crate::sandbox::Access;

/// `HOST[::GUEST][:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountText {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) access: Access,
}

/// The same, with a guest path that must be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PairText(pub(crate) MountText);

impl MountText {
    /// Cuts the text at its last `::`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (text, access) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(text), _) => (text, Access::ReadOnly),
            (None, Some(text)) => (text, Access::ReadWrite),
            (None, None) => (text, Access::ReadWrite),
        };
        let (host, guest) = text.rsplit_once("::").unwrap_or((text, text));
        if host.is_empty() {
            return Err("the path on the host is missing: HOST::GUEST".to_owned());
        }
        if guest.is_empty() {
            return Err("the path for the guest is missing: HOST::GUEST".to_owned());
        }
        Ok(MountText { host: host.into(), guest: guest.to_owned(), access })
    }
}

impl MountText {
    /// The same for what is only read: there is no `:rw`.
    pub(crate) fn parse_image(text: &str) -> Result<Self, String> {
        if text.ends_with(":rw") {
            return Err("an image is only read: put it under an overlay in a palisade.toml".into());
        }
        MountText::parse(text)
    }
}

impl PairText {
    /// Cuts the text at its last `::`, of which there must be one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("::") {
            return Err("the path for the guest is missing: HOST::GUEST".to_owned());
        }
        MountText::parse(text).map(PairText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_cut_at_its_last_colons() {
        use Access::{ReadOnly, ReadWrite};
        type Cut = Option<(&'static str, &'static str, Access)>;
        let cases: &[(&str, Cut)] = &[
            (".", Some((".", ".", ReadWrite))),
            ("a/b:ro", Some(("a/b", "a/b", ReadOnly))),
            ("a::/b", Some(("a", "/b", ReadWrite))),
            ("a::/b:ro", Some(("a", "/b", ReadOnly))),
            ("a::/b:rw", Some(("a", "/b", ReadWrite))),
            ("a::b::c:ro", Some(("a::b", "c", ReadOnly))),
            ("a::b:ro:rw", Some(("a", "b:ro", ReadWrite))),
            ("C:x::y", Some(("C:x", "y", ReadWrite))),
            ("", None),
            (":ro", None),
            ("::b", None),
            ("a::", None),
            ("a:::ro", None),
        ];
        for (text, wanted) in cases {
            let wanted = wanted.map(|(host, guest, access)| MountText {
                host: host.into(),
                guest: guest.to_owned(),
                access,
            });
            assert_eq!(MountText::parse(text).ok(), wanted, "{text}");
        }
        assert!(PairText::parse("a").is_err());
        assert!(PairText::parse("a::b").is_ok());
    }
}
