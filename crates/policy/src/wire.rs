//! What the layouts' own types are called in JSON: they are `no_std` and know nothing of it.

/// `ingress`, `egress`.
pub mod direction {
    use crate::rule::Direction;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the name.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(direction: &Direction, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name(*direction))
    }

    /// Reads the name.
    ///
    /// # Errors
    /// When it is no direction's.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Direction, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        [Direction::Ingress, Direction::Egress]
            .into_iter()
            .find(|one| name(*one) == text)
            .ok_or_else(|| serde::de::Error::custom("a direction is ingress or egress"))
    }

    /// The name.
    #[must_use]
    pub const fn name(direction: Direction) -> &'static str {
        match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

/// [`crate::subject::Kind`], by its number.
pub(crate) mod kind {
    use crate::subject::Kind;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*kind as u8)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Kind::ALL
            .into_iter()
            .find(|one| *one as u8 == number)
            .ok_or_else(|| serde::de::Error::custom("no kind has this number"))
    }
}
