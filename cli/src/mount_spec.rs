//! Parses the values of mount options: `HOST::GUEST:ro`.

use std::path::PathBuf;

/// Whether the guest may write to a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}

/// A parsed `HOST[::GUEST][:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountSpec {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) access: Access,
}

/// A parsed `HOST::GUEST[:ro]`: the guest path is required.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExplicitMountSpec(pub(crate) MountSpec);

impl MountSpec {
    /// Splits the text at its last `::`. Without one, both paths are the same.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (text, access) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(text), _) => (text, Access::ReadOnly),
            (None, Some(text)) => (text, Access::ReadWrite),
            (None, None) => (text, Access::ReadWrite),
        };
        let (host, guest) = text.rsplit_once("::").unwrap_or((text, text));
        if host.is_empty() {
            return Err("the host path is missing; write HOST::GUEST".to_owned());
        }
        if guest.is_empty() {
            return Err("the guest path is missing; write HOST::GUEST".to_owned());
        }
        Ok(MountSpec { host: host.into(), guest: guest.to_owned(), access })
    }

    /// Parses the value of `--image`: archives are read-only, so `:rw` is rejected.
    pub(crate) fn parse_image(text: &str) -> Result<Self, String> {
        if text.ends_with(":rw") {
            return Err("an image is read-only; to write over it, declare it as the lower \
                        directory of an overlay in palisade.toml"
                .into());
        }
        MountSpec::parse(text)
    }
}

impl ExplicitMountSpec {
    /// Splits the text at its last `::`, which is required.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("::") {
            return Err("the guest path is missing; write HOST::GUEST".to_owned());
        }
        MountSpec::parse(text).map(ExplicitMountSpec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_spec_is_split_at_the_last_double_colon() {
        use Access::{ReadOnly, ReadWrite};
        type Parsed = Option<(&'static str, &'static str, Access)>;
        let cases: &[(&str, Parsed)] = &[
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
            let wanted = wanted.map(|(host, guest, access)| MountSpec {
                host: host.into(),
                guest: guest.to_owned(),
                access,
            });
            assert_eq!(MountSpec::parse(text).ok(), wanted, "{text}");
        }
        assert!(ExplicitMountSpec::parse("a").is_err());
        assert!(ExplicitMountSpec::parse("a::b").is_ok());
    }
}
