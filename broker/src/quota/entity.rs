//! PURE. Whom a quota is set for, and which of them a question means.
//!
//! A user, a client id, both, or an address; each by its name, or the default for all that have no
//! quota of their own.

use std::fmt;
use std::net::IpAddr;

use crate::quota::key::Scope;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// One, or all the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// All that have no quota of their own.
    Default,
    /// This one.
    Is(String),
}

impl Name {
    /// A null name is the default.
    pub fn of(name: Option<&str>) -> Name {
        name.map_or(Name::Default, |name| Name::Is(name.to_owned()))
    }

    /// As it travels: null is the default.
    pub fn text(&self) -> Option<&str> {
        match self {
            Name::Default => None,
            Name::Is(name) => Some(name),
        }
    }
}

/// Whom a quota is set for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// The user.
    pub user: Option<Name>,
    /// The client id.
    pub client_id: Option<Name>,
    /// The address.
    pub ip: Option<Name>,
}

impl Entity {
    /// Reads its parts: types and names, null for the default. The error is one line for the client.
    pub fn of<'a>(
        parts: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Entity, String> {
        let mut entity = Entity::default();
        for (kind, name) in parts {
            let place = entity.place(kind).ok_or_else(|| {
                format!("There are no quotas for {kind:?}: expected user, client-id or ip.")
            })?;
            if name.is_some_and(str::is_empty) {
                return Err(format!("An empty {kind} has no quota."));
            }
            if place.replace(Name::of(name)).is_some() {
                return Err(format!("The quota entity names its {kind} twice."));
            }
        }
        entity.check()?;
        Ok(entity)
    }

    fn place(&mut self, kind: &str) -> Option<&mut Option<Name>> {
        match kind {
            USER => Some(&mut self.user),
            CLIENT_ID => Some(&mut self.client_id),
            IP => Some(&mut self.ip),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let is_client = self.user.is_some() || self.client_id.is_some();
        match &self.ip {
            None if !is_client => Err("The quota entity is empty.".into()),
            Some(_) if is_client => {
                Err("An ip cannot be combined with a user or a client-id.".into())
            }
            Some(Name::Is(ip)) if ip.parse::<IpAddr>().is_err() => {
                Err(format!("{ip} is not an IP address (host names are not looked up)."))
            }
            _ => Ok(()),
        }
    }

    /// Its parts, in the order of Kafka's names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        let parts = [(USER, &self.user), (CLIENT_ID, &self.client_id), (IP, &self.ip)];
        parts.into_iter().filter_map(|(kind, name)| Some((kind, name.as_ref()?.text())))
    }

    /// What can be limited for it.
    pub fn scope(&self) -> Scope {
        if self.ip.is_some() { Scope::Address } else { Scope::Client }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, name)) in self.parts().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{kind}={}", name.unwrap_or("<default>"))?;
        }
        Ok(())
    }
}

/// Which names of one type are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Exactly(Name),
    Any,
}

impl Match {
    fn fits(&self, name: &Name) -> bool {
        matches!(self, Match::Any) || matches!(self, Match::Exactly(wanted) if wanted == name)
    }
}

/// Why a question means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// It contradicts itself.
    Invalid(String),
    /// It asks for a type that there is not.
    Unsupported(String),
}

/// One condition of a question, as it travels.
#[derive(Copy, Clone, Debug)]
pub struct Component<'a> {
    /// user, client-id or ip.
    pub kind: &'a str,
    /// 0: exactly `name`, 1: the default, 2: any that is named.
    pub match_type: i8,
    /// The name, if there must be one.
    pub name: Option<&'a str>,
}

/// Which entities a question means.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    parts: [(&'static str, Option<Match>); 3],
    is_strict: bool,
}

impl Filter {
    /// Reads the conditions.
    pub fn of(components: &[Component<'_>], is_strict: bool) -> Result<Filter, FilterError> {
        let parts = [(USER, None), (CLIENT_ID, None), (IP, None)];
        let mut filter = Filter { parts, is_strict };
        let invalid = |why: String| Err(FilterError::Invalid(why));
        for component in components {
            let kind = component.kind;
            if kind.is_empty() {
                return invalid("A condition has no entity type.".into());
            }
            let Some(place) = filter.parts.iter_mut().find(|(name, _)| *name == kind) else {
                return Err(FilterError::Unsupported(format!("There are no quotas for {kind:?}.")));
            };
            let wanted = match (component.match_type, component.name) {
                (0, Some(name)) => Match::Exactly(Name::Is(name.to_owned())),
                (1, None) => Match::Exactly(Name::Default),
                (2, None) => Match::Any,
                (0, None) => return invalid(format!("An exact match of {kind} needs a name.")),
                (1 | 2, Some(_)) => {
                    return invalid(format!("Only an exact match of {kind} has a name."));
                }
                (other, _) => return invalid(format!("There is no match type {other}.")),
            };
            if place.1.replace(wanted).is_some() {
                return invalid(format!("{kind} stands twice in the filter."));
            }
        }
        let [user, client_id, ip] = &filter.parts;
        if ip.1.is_some() && (user.1.is_some() || client_id.1.is_some()) {
            return invalid("An ip cannot be combined with a user or a client-id.".into());
        }
        Ok(filter)
    }

    /// Whether that entity is meant. Strictly: it has nothing that the filter does not name.
    pub fn fits(&self, entity: &Entity) -> bool {
        let names = [&entity.user, &entity.client_id, &entity.ip];
        self.parts.iter().zip(names).all(|((_, wanted), name)| match (wanted, name) {
            (Some(wanted), Some(name)) => wanted.fits(name),
            (Some(_), None) => false,
            (None, Some(_)) => !self.is_strict,
            (None, None) => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(&str, Option<&str>)]) -> Entity {
        Entity::of(parts.iter().copied()).expect("an entity")
    }

    #[test]
    fn entities_are_what_kafka_takes() {
        for good in [
            &[(USER, Some("ada"))][..],
            &[(USER, None), (CLIENT_ID, Some("c"))],
            &[(CLIENT_ID, None)],
            &[(IP, Some("10.0.0.1"))],
            &[(IP, Some("::1"))],
            &[(IP, None)],
        ] {
            let read = entity(good);
            assert_eq!(read.parts().collect::<Vec<_>>(), good);
        }
        for bad in [
            &[][..],
            &[(USER, Some(""))],
            &[(USER, None), (USER, None)],
            &[("group", None)],
            &[(USER, None), (IP, None)],
            &[(IP, Some("nowhere.example"))],
        ] {
            assert!(Entity::of(bad.iter().copied()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_filter_means_what_kafkas_means() {
        let all = [
            entity(&[(USER, Some("ada"))]),
            entity(&[(USER, None)]),
            entity(&[(USER, Some("ada")), (CLIENT_ID, Some("c"))]),
            entity(&[(USER, Some("ada")), (CLIENT_ID, None)]),
            entity(&[(CLIENT_ID, Some("c"))]),
            entity(&[(IP, None)]),
        ];
        let found = |components: &[(&str, i8, Option<&str>)], is_strict| {
            let components = components.iter().map(|(kind, match_type, name)| Component {
                kind,
                match_type: *match_type,
                name: *name,
            });
            let filter = Filter::of(&components.collect::<Vec<_>>(), is_strict).expect("valid");
            let fitting = all.iter().enumerate().filter(|(_, entity)| filter.fits(entity));
            fitting.map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(found(&[], false), [0, 1, 2, 3, 4, 5]);
        assert!(found(&[], true).is_empty());
        assert_eq!(found(&[(USER, 0, Some("ada"))], false), [0, 2, 3]);
        assert_eq!(found(&[(USER, 0, Some("ada"))], true), [0]);
        assert_eq!(found(&[(USER, 1, None)], false), [1]);
        assert_eq!(found(&[(USER, 2, None)], true), [0, 1]);
        assert_eq!(found(&[(USER, 2, None), (CLIENT_ID, 2, None)], true), [2, 3]);
        assert_eq!(found(&[(USER, 0, Some("ada")), (CLIENT_ID, 1, None)], false), [3]);
        assert_eq!(found(&[(IP, 2, None)], false), [5]);
    }

    #[test]
    fn a_filter_that_contradicts_itself_is_refused() {
        let of = |components: &[(&'static str, i8, Option<&'static str>)]| {
            let components = components.iter().map(|(kind, match_type, name)| Component {
                kind,
                match_type: *match_type,
                name: *name,
            });
            Filter::of(&components.collect::<Vec<_>>(), false).expect_err("no filter")
        };
        for bad in [
            &[("", 2, None)][..],
            &[(USER, 0, None)],
            &[(USER, 1, Some("a"))],
            &[(USER, 2, Some("a"))],
            &[(USER, 3, None)],
            &[(USER, 2, None), (USER, 1, None)],
            &[(USER, 2, None), (IP, 2, None)],
        ] {
            assert!(matches!(of(bad), FilterError::Invalid(_)), "{bad:?}");
        }
        assert!(matches!(of(&[("group", 2, None)]), FilterError::Unsupported(_)));
    }
}
