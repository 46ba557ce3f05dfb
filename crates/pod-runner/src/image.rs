//! Images: a lab has no registry and pulls nothing. Three names are built in, one stands for the machine's own file
//! system, and every other name gets a clear answer.

/// What an image name means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// `malla workload <name>`.
    BuiltIn(&'static str),
    /// Any command of the machine's own file system.
    Host,
}

/// Why an image can't be had; the text goes into the Pod's status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error(
        "image {0:?} can't be had: a lab pulls nothing. It carries malla.dev/echo, malla.dev/client and \
         localhost/spink:1.0.1, and malla.dev/host runs any command of this machine"
    )]
    Unavailable(String),
    #[error("image name {0:?} can't be read: write repository[:tag]")]
    Invalid(String),
}

impl ImageError {
    /// The waiting reason that kubelet uses.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "ErrImagePull",
            Self::Invalid(_) => "InvalidImageName",
        }
    }
}

/// Finds out what `name` means.
pub fn resolve(name: &str) -> Result<Image, ImageError> {
    let (repository, tag) = split(name).ok_or_else(|| ImageError::Invalid(name.into()))?;
    match (repository, tag) {
        ("malla.dev/echo", _) => Ok(Image::BuiltIn("echo")),
        ("malla.dev/client", _) => Ok(Image::BuiltIn("client")),
        ("malla.dev/host", _) => Ok(Image::Host),
        ("localhost/spink", Some("1.0.1")) => Ok(Image::BuiltIn("spink")),
        _ => Err(ImageError::Unavailable(name.into())),
    }
}

/// Repository and tag; a digest behind `@` counts as no tag. `None` when the name is not one.
fn split(name: &str) -> Option<(&str, Option<&str>)> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if name.is_empty() || !name.chars().all(allowed) {
        return None;
    }
    let name = name.split('@').next()?;
    // A colon before the last slash belongs to a registry's port.
    let tag_at = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let (repository, tag) = match tag_at {
        Some(at) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    };
    (!repository.is_empty() && tag != Some("")).then_some((repository, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_names() {
        assert_eq!(resolve("malla.dev/echo"), Ok(Image::BuiltIn("echo")));
        assert_eq!(resolve("malla.dev/client:v7"), Ok(Image::BuiltIn("client")));
        assert_eq!(resolve("localhost/spink:1.0.1"), Ok(Image::BuiltIn("spink")));
        assert_eq!(resolve("malla.dev/host:latest"), Ok(Image::Host));
    }

    #[test]
    fn others_are_refused_with_a_reason() {
        for name in
            ["nginx", "localhost/spink:2", "localhost/spink", "registry:5000/malla.dev/echo", "malla.dev/echoes"]
        {
            let error = resolve(name).unwrap_err();
            assert_eq!(error.reason(), "ErrImagePull", "{name}");
            assert!(error.to_string().contains(name) && error.to_string().contains("malla.dev/host"));
        }
        for name in ["", "a b", "echo:", ":tag", "ec\nho"] {
            assert_eq!(resolve(name).unwrap_err().reason(), "InvalidImageName", "{name:?}");
        }
    }
}
