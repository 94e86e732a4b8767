//! What a person may do with a device.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// A person's part in a device. A device has one owner at most, and any number of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The device is theirs.
    Owner,
    /// May change it.
    Admin,
    /// May look at it.
    Viewer,
}

/// What somebody wants to do with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// See it, and what it measures.
    View,
    /// Change its name, its room, its zones.
    Edit,
    /// Say who else may see it; hand it on.
    Share,
    /// Give it up, or set it back to how it left the factory.
    Delete,
    /// Have all that it said, or have that deleted.
    Own,
}

impl Role {
    /// Every role, for table tests and documentation.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Admin, Self::Viewer];
    /// What a fault says when the role of a share is expected.
    pub const EXPECTED_OF_SHARE: &'static str = "must be admin or viewer";

    /// Reads the wire name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "owner" => Some(Self::Owner),
            "admin" => Some(Self::Admin),
            "viewer" => Some(Self::Viewer),
            _ => None,
        }
    }

    /// The wire name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }

    /// Whether this role may do that.
    pub fn may(self, verb: Verb) -> bool {
        match verb {
            Verb::View => true,
            Verb::Edit => matches!(self, Self::Owner | Self::Admin),
            Verb::Share | Verb::Delete | Verb::Own => self == Self::Owner,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("expected owner, admin or viewer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_roles() {
        use Role::{Admin, Owner, Viewer};
        for (verb, who) in [
            (Verb::View, &[Owner, Admin, Viewer][..]),
            (Verb::Edit, &[Owner, Admin]),
            (Verb::Share, &[Owner]),
            (Verb::Delete, &[Owner]),
            (Verb::Own, &[Owner]),
        ] {
            for role in Role::ALL {
                assert_eq!(role.may(verb), who.contains(&role), "{role} {verb:?}");
            }
        }
    }

    #[test]
    fn roles_have_their_wire_names() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("Owner"), None);
    }
}
