//! Who works on which partition: the `simple` assignor of share groups. PURE.
//!
//! A partition may be shared, so nothing has to be taken away before it is given. What must hold:
//! - every partition to which somebody subscribes is worked on;
//! - every member that subscribes to a partition works on one;
//! - whoever has a partition keeps it while the load stays even.

use std::collections::{BTreeMap, BTreeSet};

use crate::share::session::Place;

/// Partitions by member.
pub type Assignment = BTreeMap<String, BTreeSet<Place>>;

/// The name by which the assignor is known.
pub const NAME: &str = "simple";

/// Assigns to each member partitions out of those to which it subscribes.
pub fn assign(wanted: &Assignment, current: &Assignment) -> Assignment {
    let mut workers: BTreeMap<Place, Vec<&str>> = BTreeMap::new();
    for (member, places) in wanted {
        for place in places {
            workers.entry(*place).or_default().push(member);
        }
    }
    let mut assigned = keep(wanted, current, &workers);
    let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
    for place in assigned.values().flatten() {
        *counts.entry(*place).or_default() += 1;
    }
    for (place, members) in &workers {
        if counts.contains_key(place) {
            continue;
        }
        // Among the idlest it goes to one that shares another partition, and leaves that to the rest.
        let shared_by = |member: &str| assigned[member].iter().find(|it| counts[*it] > 1).copied();
        let idlest = members
            .iter()
            .min_by_key(|member| (assigned[**member].len(), shared_by(member).is_none()));
        let idlest = (*idlest.expect("somebody wants it")).to_owned();
        let left = shared_by(&idlest);
        let own = assigned.entry(idlest).or_default();
        own.insert(*place);
        counts.insert(*place, 1);
        if let Some(left) = left {
            own.remove(&left);
            *counts.get_mut(&left).expect("it was counted") -= 1;
        }
    }
    for (member, places) in wanted {
        if !assigned[member].is_empty() {
            continue;
        }
        // Rather than share one, it takes a partition from whoever has the most, and more than one.
        let holders = places.iter().flat_map(|place| {
            let holders = workers[place].iter().filter(|holder| assigned[**holder].contains(place));
            holders.map(|holder| (assigned[*holder].len(), (*holder).to_owned(), *place))
        });
        let fullest = holders.max().filter(|(count, _, _)| *count > 1);
        let place = match fullest {
            Some((_, holder, place)) => {
                assigned.get_mut(&holder).expect("it has some").remove(&place);
                place
            }
            None => {
                let Some(place) = places.iter().min_by_key(|place| counts[*place]) else {
                    continue;
                };
                *counts.get_mut(place).expect("it was counted") += 1;
                *place
            }
        };
        assigned.entry(member.clone()).or_default().insert(place);
    }
    assigned
}

/// What members keep: no more than their share of the partitions, and of each partition no more
/// members than its share of them.
fn keep(
    wanted: &Assignment,
    current: &Assignment,
    workers: &BTreeMap<Place, Vec<&str>>,
) -> Assignment {
    let fair = |parts: &mut dyn Iterator<Item = usize>| {
        let sum: f64 = parts.map(|count| 1.0 / count.max(1) as f64).sum();
        // Sums of thirds and the like are a hair off.
        ((sum - 1e-6).ceil() as usize).max(1)
    };
    let mut kept: BTreeMap<Place, usize> = BTreeMap::new();
    let mut assigned = Assignment::new();
    for (member, places) in wanted {
        let places_max = fair(&mut places.iter().map(|place| workers[place].len()));
        let own = assigned.entry(member.clone()).or_default();
        for place in current.get(member).into_iter().flatten() {
            if own.len() >= places_max || !places.contains(place) {
                continue;
            }
            let count = kept.entry(*place).or_default();
            let members = &workers[place];
            if *count < fair(&mut members.iter().map(|member| wanted[*member].len())) {
                *count += 1;
                own.insert(*place);
            }
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn place(partition: i32) -> Place {
        Place { topic: Uuid::from_u128(1), partition }
    }

    fn all_want(members: usize, partitions: i32) -> Assignment {
        let places: BTreeSet<Place> = (0..partitions).map(place).collect();
        (0..members).map(|index| (format!("m{index}"), places.clone())).collect()
    }

    #[test]
    fn two_share_one_partition_and_one_has_all() {
        let shared = assign(&all_want(2, 1), &Assignment::new());
        assert!(shared.values().all(|places| places.len() == 1));
        let alone = assign(&all_want(1, 5), &Assignment::new());
        assert_eq!(alone["m0"].len(), 5);
        let halves = assign(&all_want(2, 6), &alone);
        assert_eq!((halves["m0"].len(), halves["m1"].len()), (3, 3));
        assert!(halves["m0"].is_subset(&alone["m0"]), "it keeps what it has");
    }

    proptest! {
        #[test]
        fn every_partition_has_a_member_and_every_member_a_partition(
            wanted in prop::collection::vec(prop::collection::btree_set(0i32..12, 0..12), 0..9),
            current in prop::collection::vec(prop::collection::btree_set(0i32..14, 0..12), 0..9),
        ) {
            let name = |all: Vec<BTreeSet<i32>>| -> Assignment {
                let named = all.into_iter().enumerate();
                named.map(|(index, places)| (format!("m{index}"), places.into_iter().map(place).collect())).collect()
            };
            let (wanted, current) = (name(wanted), name(current));
            let assigned = assign(&wanted, &current);
            prop_assert_eq!(assigned.len(), wanted.len());
            let covered: BTreeSet<&Place> = assigned.values().flatten().collect();
            let asked: BTreeSet<&Place> = wanted.values().flatten().collect();
            prop_assert_eq!(covered, asked);
            for (member, places) in &assigned {
                prop_assert!(places.is_subset(&wanted[member]));
                prop_assert_eq!(places.is_empty(), wanted[member].is_empty());
            }
            prop_assert_eq!(&assign(&wanted, &current), &assigned, "it is not the same twice");
        }

        #[test]
        fn the_load_is_even_when_all_want_the_same(
            members in 1usize..12, before in 1usize..12, partitions in 1i32..20,
        ) {
            let current = assign(&all_want(before, partitions), &Assignment::new());
            let assigned = assign(&all_want(members, partitions), &current);
            let most = (partitions as usize).div_ceil(members);
            prop_assert!(assigned.values().all(|places| places.len() <= most));
            for partition in 0..partitions {
                let sharing = assigned.values().filter(|own| own.contains(&place(partition)));
                prop_assert!(sharing.count() <= members.div_ceil(partitions as usize));
            }
        }
    }
}
