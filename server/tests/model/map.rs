//! The simplest store: a map of maps.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::reply::{Answer, Reply, WRONG_TYPE};
use super::stream_state::Stream;
use super::words::{Bytes, key};

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Bytes),
    /// A string that counts elements: what was added, not its bytes.
    Counter(BTreeSet<Bytes>),
    Hash(BTreeMap<Bytes, Bytes>),
    Set(BTreeSet<Bytes>),
    List(VecDeque<Bytes>),
    Sorted(BTreeMap<Bytes, f64>),
    Stream(Stream),
}

/// Whether a collection is empty: then there is no key.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(_) | Value::Counter(_) | Value::Stream(_) => false,
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Sorted(set) => set.is_empty(),
    }
}

#[derive(Default)]
pub struct Model {
    pub now_ms: u64,
    pub db: u8,
    pub keys: HashMap<(u8, Bytes), (Value, Option<u64>)>,
}

impl Model {
    pub fn expire(&mut self) {
        let now_ms = self.now_ms;
        self.keys.retain(|_, (_, at)| at.is_none_or(|at| at > now_ms));
    }

    pub fn get(&self, n: u8) -> Option<&(Value, Option<u64>)> {
        self.keys.get(&(self.db, key(n)))
    }

    pub fn take(&mut self, n: u8) -> Option<(Value, Option<u64>)> {
        self.keys.remove(&(self.db, key(n)))
    }

    pub fn string(&self, n: u8) -> Result<Option<Bytes>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::Text(text), _)) => Ok(Some(text.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub fn counter(&self, n: u8) -> Result<Option<BTreeSet<Bytes>>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::Counter(set), _)) => Ok(Some(set.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub fn hash(&self, n: u8) -> Result<Option<BTreeMap<Bytes, Bytes>>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::Hash(hash), _)) => Ok(Some(hash.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub fn set(&self, n: u8) -> Result<BTreeSet<Bytes>, Reply> {
        match self.get(n) {
            None => Ok(BTreeSet::new()),
            Some((Value::Set(set), _)) => Ok(set.clone()),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The list at a key; `None`: there is none.
    pub fn list(&self, n: u8) -> Result<Option<VecDeque<Bytes>>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::List(list), _)) => Ok(Some(list.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub fn sorted(&self, n: u8) -> Result<BTreeMap<Bytes, f64>, Reply> {
        match self.get(n) {
            None => Ok(BTreeMap::new()),
            Some((Value::Sorted(set), _)) => Ok(set.clone()),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub fn stream(&self, n: u8) -> Result<Option<Stream>, Reply> {
        match self.get(n) {
            None => Ok(None),
            Some((Value::Stream(stream), _)) => Ok(Some(stream.clone())),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    pub fn put(&mut self, n: u8, value: Value, at: Option<u64>) {
        let place = (self.db, key(n));
        if at.is_some_and(|at| at <= self.now_ms) || is_empty(&value) {
            self.keys.remove(&place);
        } else {
            self.keys.insert(place, (value, at));
        }
    }

    /// Keeps the expiry.
    pub fn change(&mut self, n: u8, value: Value) {
        let at = self.get(n).and_then(|(_, at)| *at);
        self.put(n, value, at);
    }
}

/// A step, or those of one family.
pub trait Run {
    /// Does it to the model; gives the reply.
    fn run(&self, model: &mut Model) -> Answer;

    /// The request that the step stands for; empty: none.
    fn request(&self) -> Vec<Bytes>;

    /// Whether the model cannot tell what this comes to: then it is not asked.
    fn is_open(&self, _model: &Model) -> bool {
        false
    }
}
