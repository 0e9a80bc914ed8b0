//! PURE. All quotas that are set, and which of them holds for a client.

use std::collections::BTreeMap;

use crate::quota::entity::{Entity, Name};
use crate::quota::key::Key;

/// Far above any use, so that no client fills the memory with names.
const ENTITIES_MAX: usize = 10_000;

/// What is set for one entity.
pub type Limits = BTreeMap<Key, f64>;

/// Who shares one count: those for whom the same quota holds. Empty where the quota does not tell
/// clients apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party {
    /// The user.
    pub user: String,
    /// The client id, or the address.
    pub client: String,
}

/// What is to be changed for one entity.
#[derive(Clone, Debug)]
pub struct Alteration {
    /// For whom.
    pub entity: Entity,
    /// Names of settings with their new values; nothing: it is taken away.
    pub values: Vec<(String, Option<f64>)>,
}

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    limits: BTreeMap<Entity, Limits>,
}

impl Book {
    /// All of them, by entity.
    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &Limits)> {
        self.limits.iter()
    }

    /// Changes what is set for one entity, or says in one line why not; nothing is changed then.
    pub fn alter(&mut self, alteration: &Alteration) -> Result<(), String> {
        let Alteration { entity, values } = alteration;
        let mut limits = self.limits.get(entity).cloned().unwrap_or_default();
        let mut seen = Vec::new();
        for (name, value) in values {
            if seen.contains(&name) {
                return Err(format!("{name} is altered twice for {entity}."));
            }
            seen.push(name);
            let key = Key::named(name).filter(|key| key.scope() == entity.scope());
            match (key, value) {
                (Some(key), Some(value)) => {
                    key.check(*value)?;
                    limits.insert(key, *value);
                }
                (Some(key), None) => drop(limits.remove(&key)),
                // What is not there can be taken away, as in Kafka.
                (None, None) => {}
                (None, Some(_)) => return Err(format!("{entity} has no quota {name:?}.")),
            }
        }
        if limits.is_empty() {
            self.limits.remove(entity);
            return Ok(());
        }
        if self.limits.len() >= ENTITIES_MAX && !self.limits.contains_key(entity) {
            return Err(format!("{ENTITIES_MAX} entities have quotas already."));
        }
        self.limits.insert(entity.clone(), limits);
        Ok(())
    }

    /// A bit for each key that is set for anybody.
    pub fn keys(&self) -> u8 {
        let keys = self.limits.values().flat_map(|limits| limits.keys());
        keys.fold(0, |bits, key| bits | key.bit())
    }

    fn get(&self, key: Key, user: Option<Name>, client_id: Option<Name>) -> Option<f64> {
        self.limits.get(&Entity { user, client_id, ip: None })?.get(&key).copied()
    }

    /// The limit of a client, from the most particular quota that is set for it, and who shares it.
    pub fn limit(&self, key: Key, user: &str, client_id: &str) -> Option<(f64, Party)> {
        let own = |name: &str| Some(Name::Is(name.to_owned()));
        let default = || Some(Name::Default);
        for user_name in [own(user), default()] {
            for client_name in [own(client_id), default()] {
                if let Some(limit) = self.get(key, user_name.clone(), client_name) {
                    let party = Party { user: user.to_owned(), client: client_id.to_owned() };
                    return Some((limit, party));
                }
            }
            if let Some(limit) = self.get(key, user_name, None) {
                return Some((limit, Party { user: user.to_owned(), client: String::new() }));
            }
        }
        let of_client =
            [own(client_id), default()].into_iter().find_map(|name| self.get(key, None, name));
        of_client.map(|limit| (limit, Party { user: String::new(), client: client_id.to_owned() }))
    }

    /// The limit of an address.
    pub fn limit_of_address(&self, address: &str) -> Option<f64> {
        let of = |ip: Name| {
            let entity = Entity { ip: Some(ip), ..Entity::default() };
            self.limits.get(&entity)?.get(&Key::Connections).copied()
        };
        of(Name::Is(address.to_owned())).or_else(|| of(Name::Default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Key = Key::ProducerBytes;

    fn entity(user: Option<Option<&str>>, client_id: Option<Option<&str>>) -> Entity {
        let parts = user.map(|name| ("user", name)).into_iter();
        Entity::of(parts.chain(client_id.map(|name| ("client-id", name)))).expect("an entity")
    }

    fn set(book: &mut Book, entity: Entity, name: &str, value: Option<f64>) -> Result<(), String> {
        book.alter(&Alteration { entity, values: vec![(name.to_owned(), value)] })
    }

    /// Kafka's order of precedence, as its documentation lists it.
    fn precedence() -> [Entity; 8] {
        [
            entity(Some(Some("u")), Some(Some("c"))),
            entity(Some(Some("u")), Some(None)),
            entity(Some(Some("u")), None),
            entity(Some(None), Some(Some("c"))),
            entity(Some(None), Some(None)),
            entity(Some(None), None),
            entity(None, Some(Some("c"))),
            entity(None, Some(None)),
        ]
    }

    proptest! {
        #[test]
        fn the_most_particular_quota_that_is_set_holds(chosen in prop::collection::vec(any::<bool>(), 8)) {
            let mut book = Book::default();
            for (index, entity) in precedence().into_iter().enumerate() {
                // Another quota of the same entity must not count.
                set(&mut book, entity.clone(), "consumer_byte_rate", Some(99.0)).expect("valid");
                if chosen[index] {
                    set(&mut book, entity, RATE.name(), Some(1.0 + index as f64)).expect("valid");
                }
            }
            let first = chosen.iter().position(|chosen| *chosen).map(|index| 1.0 + index as f64);
            prop_assert_eq!(book.limit(RATE, "u", "c").map(|(limit, _)| limit), first);
        }
    }

    #[test]
    fn clients_share_a_count_only_where_the_quota_does_not_tell_them_apart() {
        let party = |entity: Entity| {
            let mut book = Book::default();
            set(&mut book, entity, RATE.name(), Some(1.0)).expect("valid");
            let (_, Party { user, client }) = book.limit(RATE, "u", "c").expect("a limit");
            (user, client)
        };
        let [both, user_any, user, any_client, any_any, any_user, client, any] =
            precedence().map(party);
        for told_apart in [both, user_any, any_client, any_any] {
            assert_eq!(told_apart, ("u".to_owned(), "c".to_owned()));
        }
        assert!([user, any_user].iter().all(|one| *one == ("u".to_owned(), String::new())));
        assert!([client, any].iter().all(|one| *one == (String::new(), "c".to_owned())));
    }

    #[test]
    fn an_alteration_is_taken_as_a_whole_or_not_at_all() {
        let mut book = Book::default();
        let ada = entity(Some(Some("ada")), None);
        let values = [("producer_byte_rate", Some(5.0)), ("connection_creation_rate", Some(5.0))];
        let values = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
        assert!(book.alter(&Alteration { entity: ada.clone(), values }).is_err());
        assert_eq!(book, Book::default());
        set(&mut book, ada.clone(), "producer_byte_rate", Some(5.0)).expect("valid");
        assert_eq!(book.keys(), Key::ProducerBytes.bit());
        assert!(set(&mut book, ada.clone(), "producer_byte_rate", Some(0.0)).is_err());
        assert!(set(&mut book, ada.clone(), "nonsense", Some(1.0)).is_err());
        set(&mut book, ada.clone(), "nonsense", None).expect("nothing was there");
        let twice = vec![("request_percentage".to_owned(), Some(1.0)); 2];
        assert!(book.alter(&Alteration { entity: ada.clone(), values: twice }).is_err());
        set(&mut book, ada, "producer_byte_rate", None).expect("valid");
        assert_eq!(book, Book::default());
        let address = Entity::of([("ip", Some("10.0.0.1"))]).expect("an entity");
        set(&mut book, address, "connection_creation_rate", Some(3.0)).expect("valid");
        assert_eq!(book.limit_of_address("10.0.0.1"), Some(3.0));
        assert_eq!(book.limit_of_address("10.0.0.2"), None);
    }
}
