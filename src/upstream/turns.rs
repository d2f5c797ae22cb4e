//! Each in turn, by weight, and smoothly: of the weights 5, 1, 1 comes `a a b a c a a`, not five times `a`.
//!
//! Each *set* of candidates has turns of its own. Were they counted together, a retry that leaves out the
//! endpoint which just failed would take the turn of another one: with two endpoints, each first request would
//! meet the one that fails.

use fastrand::Rng;

/// Sets that are known at once. With so many endpoints, each can be left out once.
const SETS: usize = 64;
/// A set that is new, or was forgotten, begins at a place by chance within this many requests. Sets that are seen
/// once each would all begin with the heaviest otherwise.
const HEAD_START: u64 = 512;

/// The turns of the sets that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The last one used is first.
    sets: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    members: Vec<Member>,
    /// Of all weights.
    total: i64,
}

#[derive(Debug)]
struct Member {
    index: usize,
    weight: u32,
    /// What it is behind its share, in requests times `total`; 0 at the end of each full turn.
    behind: i64,
}

impl Turns {
    /// The place of the member whose turn it is, in the set of these indexes and weights; none if there are
    /// none. The members of a set come in the same order each time.
    pub(super) fn next(
        &mut self,
        members: impl Iterator<Item = (usize, u32)> + Clone,
        chance: &mut Rng,
    ) -> Option<usize> {
        match self.sets.iter().position(|set| set.is_of(members.clone())) {
            Some(at) => self.sets[..=at].rotate_right(1),
            None => {
                self.sets.truncate(SETS - 1);
                self.sets.insert(0, Set::new(members, chance));
            }
        }
        self.sets[0].next()
    }
}

impl Set {
    fn new(members: impl Iterator<Item = (usize, u32)>, chance: &mut Rng) -> Self {
        let members: Vec<_> = members
            .map(|(index, weight)| Member {
                index,
                weight,
                behind: 0,
            })
            .collect();
        let total = members.iter().map(|member| i64::from(member.weight)).sum();
        let mut set = Self { members, total };
        let head_start = HEAD_START.min(set.total.unsigned_abs()).max(1);
        for _ in 0..chance.u64(..head_start) {
            set.next();
        }
        set
    }

    fn is_of(&self, members: impl Iterator<Item = (usize, u32)>) -> bool {
        let known = self
            .members
            .iter()
            .map(|member| (member.index, member.weight));
        known.eq(members)
    }

    /// Whoever is behind most. Only one that is behind is taken, so nobody is ever a whole request ahead of its
    /// share; the sum of all is 0, so after a full turn (as many requests as all weights together) everybody
    /// is where it began, and had exactly its share.
    fn next(&mut self) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        for (at, member) in self.members.iter_mut().enumerate() {
            member.behind += i64::from(member.weight);
            if best.is_none_or(|(_, most)| member.behind > most) {
                best = Some((at, member.behind));
            }
        }
        let (at, _) = best?;
        self.members[at].behind -= self.total;
        Some(at)
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
