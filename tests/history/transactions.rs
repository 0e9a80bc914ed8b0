//! F12 and F13: a transaction is seen whole, after its end, once, and in some order with the others.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::history::event::{Isolation, Name, Op, Value};
use crate::history::known::{Fate, Known};
use crate::history::verdict::Verdict;

/// F12: no part of a transaction is seen before its commit was asked for, nor without the rest; and
/// what was made from a record was made from it once: its offset went along with its outcome.
pub fn atomicity(known: &Known<'_>, verdict: &mut Verdict) {
    for event in known.reads().filter(|event| event.isolation == Isolation::Committed) {
        for value in event.values.iter().filter_map(|record| record.1) {
            let Some(sent) = known.send_of(value).filter(|sent| sent.txn != 0) else { continue };
            let transaction = known.transactions.get(&sent.txn);
            let asked = transaction.and_then(|transaction| transaction.commit_invoked);
            // Without any question it was aborted, and F3 speaks.
            if asked.is_some_and(|asked| event.t < asked) {
                let txn = known.events.name(sent.txn);
                verdict.raise("F12", || format!("{value:x} of {txn} was seen before its commit"));
            }
        }
    }
    let mut visible: HashSet<Value> = HashSet::new();
    for ((_, isolation), last) in &known.last {
        if *isolation == Isolation::Committed {
            visible.extend(last.records.iter().filter_map(|record| record.1));
        }
    }
    let mut parts: BTreeMap<Name, (u64, u64)> = BTreeMap::new();
    let mut made: HashMap<Value, Value> = HashMap::new();
    for sent in known.sent.iter().filter(|sent| sent.txn != 0) {
        if !known.last.contains_key(&(sent.tp, Isolation::Committed)) {
            continue;
        }
        let is_visible = visible.contains(&sent.value);
        let (seen, unseen) = parts.entry(sent.txn).or_default();
        *(if is_visible { seen } else { unseen }) += 1;
        let Some(from) = sent.from.filter(|_| is_visible) else { continue };
        if let Some(other) = made.insert(from, sent.value) {
            verdict.raise("F12", || {
                format!("{from:x} was worked off twice: {other:x} and {:x}", sent.value)
            });
        }
    }
    for (txn, (seen, unseen)) in parts {
        let is_lost = known.fate(txn) == Fate::Committed && unseen > 0;
        if is_lost || known.fate(txn) == Fate::Unknown && seen > 0 && unseen > 0 {
            let txn = known.events.name(txn);
            verdict
                .raise("F12", || format!("of {txn} {seen} records are visible and {unseen} not"));
        }
    }
}

/// F13 G1c: transactions that read each other's records in a circle. Strongly connected parts of
/// the graph of who read from whom, by Tarjan's algorithm without recursion.
pub fn circles(known: &Known<'_>, verdict: &mut Verdict) {
    let mut edges: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
    for event in &known.events.list {
        if event.op != Op::Poll || event.txn == 0 || event.isolation == Isolation::Uncommitted {
            continue;
        }
        for value in event.values.iter().filter_map(|record| record.1) {
            let writer = known.send_of(value).map_or(0, |sent| sent.txn);
            if writer != 0 && writer != event.txn {
                edges.entry(writer).or_default().push(event.txn);
            }
        }
    }
    let mut search = Search::of(&edges);
    for start in edges.keys() {
        search.from(*start);
    }
    for circle in search.circles {
        let names: Vec<&str> = circle.iter().map(|txn| known.events.name(*txn)).collect();
        verdict.raise("F13", || format!("they read each other: {names:?}"));
    }
}

struct Search<'a> {
    edges: &'a BTreeMap<Name, Vec<Name>>,
    index: HashMap<Name, usize>,
    low: HashMap<Name, usize>,
    stack: Vec<Name>,
    is_on_stack: HashSet<Name>,
    circles: Vec<Vec<Name>>,
}

impl<'a> Search<'a> {
    fn of(edges: &'a BTreeMap<Name, Vec<Name>>) -> Search<'a> {
        Search {
            edges,
            index: HashMap::new(),
            low: HashMap::new(),
            stack: Vec::new(),
            is_on_stack: HashSet::new(),
            circles: Vec::new(),
        }
    }

    fn enter(&mut self, node: Name) {
        let index = self.index.len();
        self.index.insert(node, index);
        self.low.insert(node, index);
        self.stack.push(node);
        self.is_on_stack.insert(node);
    }

    fn from(&mut self, start: Name) {
        if self.index.contains_key(&start) {
            return;
        }
        self.enter(start);
        let mut path = vec![(start, 0)];
        while let Some((node, taken)) = path.pop() {
            let next = self.edges.get(&node).and_then(|targets| targets.get(taken)).copied();
            let Some(next) = next else {
                self.leave(node);
                if let Some((above, _)) = path.last() {
                    let low = self.low[&node].min(self.low[above]);
                    self.low.insert(*above, low);
                }
                continue;
            };
            path.push((node, taken + 1));
            if !self.index.contains_key(&next) {
                self.enter(next);
                path.push((next, 0));
            } else if self.is_on_stack.contains(&next) {
                let low = self.index[&next].min(self.low[&node]);
                self.low.insert(node, low);
            }
        }
    }

    fn leave(&mut self, node: Name) {
        if self.low[&node] != self.index[&node] {
            return;
        }
        let mut circle = Vec::new();
        while let Some(member) = self.stack.pop() {
            self.is_on_stack.remove(&member);
            circle.push(member);
            if member == node {
                break;
            }
        }
        if circle.len() > 1 {
            self.circles.push(circle);
        }
    }
}
