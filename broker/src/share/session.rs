//! Share sessions: of which partitions a member fetches, kept between its requests. PURE.
//!
//! ```text
//! epoch 0: a new session      n: the next request, and n + 1 is expected then      -1: the end
//! ```
//!
//! There is one session for each member of a group. A member that begins anew gets a new one, and
//! keeps what it has acquired until its locks end.

use std::collections::{BTreeSet, HashMap};

use kafka_protocol::error::ResponseError;
use uuid::Uuid;

/// The epoch that begins a session.
pub const INITIAL_EPOCH: i32 = 0;
/// The epoch that ends a session.
pub const FINAL_EPOCH: i32 = -1;

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The group.
    pub group: String,
    /// The member.
    pub member: String,
}

/// A partition of a topic.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic's id.
    pub topic: Uuid,
    /// The partition.
    pub partition: i32,
}

/// What a request does to its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on with these partitions, in the order in which they are to be looked at.
    Goes(Vec<Place>),
    /// It ends with this request: all that the member has is to be given back.
    Ends,
}

/// What a request says of its session.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The epoch.
    pub epoch: i32,
    /// Partitions that it names.
    pub named: &'a [Place],
    /// Partitions that it wants no more.
    pub forgotten: &'a [Place],
    /// Whether it acknowledges anything.
    pub acknowledges: bool,
    /// When it came.
    pub now_ms: i64,
}

#[derive(Clone, Debug)]
struct Session {
    /// The epoch that the next request must have.
    next_epoch: i32,
    places: BTreeSet<Place>,
    seen_ms: i64,
}

/// All share sessions.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    sessions: HashMap<SessionKey, Session>,
}

impl Sessions {
    /// A ShareFetch comes. `sessions_max`: how many sessions there may be.
    ///
    /// # Errors
    /// INVALID_REQUEST, SHARE_SESSION_NOT_FOUND, INVALID_SHARE_SESSION_EPOCH, or
    /// SHARE_SESSION_LIMIT_REACHED.
    pub fn fetch(
        &mut self,
        key: &SessionKey,
        call: &Call<'_>,
        sessions_max: usize,
    ) -> Result<Turn, ResponseError> {
        if call.epoch == INITIAL_EPOCH {
            if call.acknowledges {
                return Err(ResponseError::InvalidRequest);
            }
            return self.begin(key, call, sessions_max);
        }
        self.acknowledge(key, call.epoch, call.now_ms)?;
        if call.epoch == FINAL_EPOCH {
            return Ok(Turn::Ends);
        }
        let session = self.sessions.get_mut(key).expect("it was just found");
        session.places.extend(call.named);
        for place in call.forgotten {
            session.places.remove(place);
        }
        // Each request begins with another partition, so that none waits for ever.
        let mut places: Vec<Place> = session.places.iter().copied().collect();
        let shift = usize::try_from(call.epoch).unwrap_or(0).checked_rem(places.len());
        places.rotate_left(shift.unwrap_or(0));
        Ok(Turn::Goes(places))
    }

    fn begin(
        &mut self,
        key: &SessionKey,
        call: &Call<'_>,
        sessions_max: usize,
    ) -> Result<Turn, ResponseError> {
        if !self.sessions.contains_key(key) && self.sessions.len() >= sessions_max {
            return Err(ResponseError::ShareSessionLimitReached);
        }
        let mut places: BTreeSet<Place> = call.named.iter().copied().collect();
        for place in call.forgotten {
            places.remove(place);
        }
        let session = Session { next_epoch: 1, places: places.clone(), seen_ms: call.now_ms };
        let places = places.into_iter().collect();
        self.sessions.insert(key.clone(), session);
        Ok(Turn::Goes(places))
    }

    /// A request that goes on with a session, or ends it: a ShareAcknowledge is nothing else.
    ///
    /// # Errors
    /// SHARE_SESSION_NOT_FOUND, or INVALID_SHARE_SESSION_EPOCH.
    pub fn acknowledge(
        &mut self,
        key: &SessionKey,
        epoch: i32,
        now_ms: i64,
    ) -> Result<Turn, ResponseError> {
        if epoch == INITIAL_EPOCH {
            return Err(ResponseError::InvalidShareSessionEpoch);
        }
        let session = self.sessions.get_mut(key).ok_or(ResponseError::ShareSessionNotFound)?;
        if epoch == FINAL_EPOCH {
            self.sessions.remove(key);
            return Ok(Turn::Ends);
        }
        if session.next_epoch != epoch {
            return Err(ResponseError::InvalidShareSessionEpoch);
        }
        session.next_epoch = epoch.checked_add(1).unwrap_or(1);
        session.seen_ms = now_ms;
        Ok(Turn::Goes(Vec::new()))
    }

    /// Ends the sessions of which `is_over` says so, given the time of their last request.
    pub fn end_all(&mut self, is_over: impl Fn(&SessionKey, i64) -> bool) -> Vec<SessionKey> {
        let over = self.sessions.iter().filter(|(key, session)| is_over(key, session.seen_ms));
        let mut over: Vec<SessionKey> = over.map(|(key, _)| key.clone()).collect();
        over.sort();
        for key in &over {
            self.sessions.remove(key);
        }
        over
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(member: &str) -> SessionKey {
        SessionKey { group: "g".into(), member: member.into() }
    }

    fn place(partition: i32) -> Place {
        Place { topic: Uuid::from_u128(1), partition }
    }

    fn call<'a>(epoch: i32, named: &'a [Place], forgotten: &'a [Place]) -> Call<'a> {
        Call { epoch, named, forgotten, acknowledges: false, now_ms: 5 }
    }

    #[test]
    fn a_session_begins_goes_on_and_ends() {
        let mut sessions = Sessions::default();
        let unknown = sessions.fetch(&key("ada"), &call(1, &[], &[]), 9);
        assert_eq!(unknown, Err(ResponseError::ShareSessionNotFound));
        let begun = sessions.fetch(&key("ada"), &call(0, &[place(0), place(1)], &[]), 9);
        let places = vec![place(0), place(1)];
        assert_eq!(begun, Ok(Turn::Goes(places)));
        let rotated = sessions.fetch(&key("ada"), &call(1, &[], &[]), 9);
        let places = vec![place(1), place(0)];
        assert_eq!(rotated, Ok(Turn::Goes(places)));
        let again = sessions.fetch(&key("ada"), &call(1, &[], &[]), 9);
        assert_eq!(again, Err(ResponseError::InvalidShareSessionEpoch));
        assert!(sessions.acknowledge(&key("ada"), 2, 5).is_ok());
        let anew = sessions.fetch(&key("ada"), &call(0, &[place(2)], &[]), 9);
        assert_eq!(anew, Ok(Turn::Goes(vec![place(2)])));
        let acknowledged = sessions.acknowledge(&key("ada"), 0, 5);
        assert_eq!(acknowledged, Err(ResponseError::InvalidShareSessionEpoch));
        assert_eq!(sessions.fetch(&key("ada"), &call(-1, &[], &[]), 9), Ok(Turn::Ends));
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_new_session_acknowledges_nothing_and_finds_room_or_none() {
        let mut sessions = Sessions::default();
        let early = Call { acknowledges: true, ..call(0, &[], &[]) };
        let refused = sessions.fetch(&key("ada"), &early, 1);
        assert_eq!(refused, Err(ResponseError::InvalidRequest));
        sessions.fetch(&key("ada"), &call(0, &[], &[]), 1).expect("there is room");
        let refused = sessions.fetch(&key("bob"), &call(0, &[], &[]), 1);
        assert_eq!(refused, Err(ResponseError::ShareSessionLimitReached));
        sessions.fetch(&key("ada"), &call(0, &[], &[]), 1).expect("it has a place");
        assert_eq!(sessions.end_all(|_, seen_ms| seen_ms <= 4), []);
        assert_eq!(sessions.end_all(|_, seen_ms| seen_ms <= 5), [key("ada")]);
        assert_eq!(sessions.len(), 0);
    }

    proptest! {
        #[test]
        fn a_session_is_the_set_of_what_was_named_and_not_forgotten(
            calls in prop::collection::vec(
                (0usize..2, -1i32..6, prop::collection::vec(0i32..5, 0..4), prop::collection::vec(0i32..5, 0..3)),
                0..60,
            ),
        ) {
            let mut sessions = Sessions::default();
            let mut reference: [Option<(i32, BTreeSet<Place>)>; 2] = [None, None];
            for (who, epoch, named, forgotten) in calls {
                let named: Vec<Place> = named.into_iter().map(place).collect();
                let forgotten: Vec<Place> = forgotten.into_iter().map(place).collect();
                let told = sessions.fetch(&key(["ada", "bob"][who]), &call(epoch, &named, &forgotten), 9);
                let expected = match (&mut reference[who], epoch) {
                    (known, 0) => {
                        *known = Some((1, BTreeSet::new()));
                        Ok(true)
                    }
                    (None, _) => Err(ResponseError::ShareSessionNotFound),
                    (known, -1) => {
                        *known = None;
                        Ok(false)
                    }
                    (Some((next, _)), epoch) if *next != epoch => Err(ResponseError::InvalidShareSessionEpoch),
                    (Some((next, _)), _) => {
                        *next += 1;
                        Ok(true)
                    }
                };
                match (expected, told) {
                    (Ok(true), Ok(Turn::Goes(places))) => {
                        let (_, known) = reference[who].as_mut().unwrap();
                        known.extend(named);
                        known.retain(|place| !forgotten.contains(place));
                        prop_assert_eq!(places.len(), known.len());
                        prop_assert_eq!(&places.into_iter().collect::<BTreeSet<_>>(), known);
                    }
                    (Ok(false), Ok(Turn::Ends)) => {}
                    (Err(expected), Err(told)) => prop_assert_eq!(expected, told),
                    (expected, told) => prop_assert!(false, "expected {:?}, told {:?}", expected, told),
                }
            }
        }
    }
}
