//! Who has to go when there is no room.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::indexes::relist;
use super::keyed::Place;
use super::limits::{BookLimits, Refused};
use super::slab::Id;
use crate::netgroup::NetGroup;
use crate::timestamp::Timestamp;

/// What the limits see of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) id: Id,
    pub(super) place: Place,
    /// The netgroup that told us of it.
    pub(super) source: Option<NetGroup>,
    /// Whether it counts against its netgroup's limit.
    pub(super) learned: bool,
    /// `None` if it stays.
    pub(super) worth: Option<Worth>,
}

/// What a record is worth that may go, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// It could not be reached, for the longest time first.
    Inaccessible { since: Timestamp },
    /// Nothing is known of it. Which of them stay is a sample that the secret draws: it does not
    /// depend on who came first, nor on how often one is named.
    Untried { rank: Reverse<u64> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Population {
    all: u32,
    learned: u32,
    /// Those that may go.
    dispensable: u32,
}

impl Population {
    fn add(&mut self, tenant: &Tenant) {
        self.all += 1;
        self.learned += u32::from(tenant.learned);
        self.dispensable += u32::from(tenant.worth.is_some());
    }

    fn remove(&mut self, tenant: &Tenant) {
        self.all -= 1;
        self.learned -= u32::from(tenant.learned);
        self.dispensable -= u32::from(tenant.worth.is_some());
    }
}

/// Records that may go, by netgroup and by source, and how many there are of each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    all: u32,
    groups: BTreeMap<Place, Population>,
    sources: BTreeMap<NetGroup, u32>,
    by_group: BTreeSet<(Place, Worth, Id)>,
    by_source: BTreeSet<(NetGroup, Worth, Id)>,
    /// The groups from which one may go, by the number of their records.
    by_size: BTreeSet<(u32, Place)>,
}

impl Room {
    pub(super) fn replace(&mut self, before: Option<Tenant>, after: Option<Tenant>) {
        if before == after {
            return;
        }
        let by_group = |tenant: Tenant| Some((tenant.place, tenant.worth?, tenant.id));
        let by_source = |tenant: Tenant| Some((tenant.source?, tenant.worth?, tenant.id));
        relist(
            &mut self.by_group,
            before.and_then(by_group),
            after.and_then(by_group),
        );
        relist(
            &mut self.by_source,
            before.and_then(by_source),
            after.and_then(by_source),
        );
        match (before, after) {
            (Some(before), Some(after)) => {
                self.change(before.place, |population| {
                    population.remove(&before);
                    population.add(&after);
                });
            }
            (None, Some(tenant)) => {
                self.all += 1;
                self.change(tenant.place, |population| population.add(&tenant));
                if let Some(source) = tenant.source {
                    *self.sources.entry(source).or_default() += 1;
                }
            }
            (Some(tenant), None) => {
                self.all -= 1;
                self.change(tenant.place, |population| population.remove(&tenant));
                if let Some(source) = tenant.source
                    && let Entry::Occupied(mut told) = self.sources.entry(source)
                {
                    *told.get_mut() -= 1;
                    if *told.get() == 0 {
                        told.remove();
                    }
                }
            }
            (None, None) => {}
        }
    }

    /// Who has to go for a newcomer: at most one for its source and one for its group, or one
    /// for the total. Nobody goes for one that is worth less.
    pub(super) fn victims(
        &self,
        newcomer: &Tenant,
        limits: &BookLimits,
        place_of: impl Fn(Id) -> Place,
    ) -> Result<[Option<Id>; 2], Refused> {
        let outlasted = |(worth, id): (Worth, Id)| {
            let outlasts = newcomer.worth.is_none_or(|own| own > worth);
            outlasts.then_some(id)
        };
        let mut victims = [None, None];
        if let Some(source) = newcomer.source
            && self.told_by(source) >= limits.per_source
        {
            let victim = first_of(&self.by_source, source).and_then(outlasted);
            victims[0] = Some(victim.ok_or(Refused::SourceFull)?);
        }

        let population = self.population(newcomer.place);
        let leaves = victims[0].is_some_and(|id| place_of(id) == newcomer.place);
        if newcomer.learned && population.learned >= limits.per_netgroup && !leaves {
            let victim = first_of(&self.by_group, newcomer.place).and_then(outlasted);
            victims[1] = Some(victim.ok_or(Refused::NetGroupFull)?);
        }

        if self.all >= limits.total && victims == [None, None] {
            let &(size, fullest) = self.by_size.last().ok_or(Refused::Full)?;
            let victim = first_of(&self.by_group, fullest).ok_or(Refused::Full)?;
            // To level the groups is worth more than to keep the better of two.
            let levels = population.all + 1 < size;
            let victim = if levels {
                Some(victim.1)
            } else {
                outlasted(victim)
            };
            victims[0] = Some(victim.ok_or(Refused::Full)?);
        }
        Ok(victims)
    }

    fn change(&mut self, place: Place, change: impl FnOnce(&mut Population)) {
        let population = self.groups.entry(place).or_default();
        let listed = |population: &Population| {
            (population.dispensable > 0).then_some((population.all, place))
        };
        let before = listed(population);
        change(population);
        let after = listed(population);
        if population.all == 0 {
            self.groups.remove(&place);
        }
        relist(&mut self.by_size, before, after);
    }

    fn told_by(&self, source: NetGroup) -> u32 {
        self.sources.get(&source).copied().unwrap_or_default()
    }

    fn population(&self, place: Place) -> Population {
        self.groups.get(&place).copied().unwrap_or_default()
    }
}

/// The one that is worth least of a group or source.
fn first_of<Of: Copy + Ord>(index: &BTreeSet<(Of, Worth, Id)>, of: Of) -> Option<(Worth, Id)> {
    let least = Worth::Inaccessible {
        since: Timestamp::from_millis(0),
    };
    let &(found, worth, id) = index.range((of, least, Id(0))..).next()?;
    (found == of).then_some((worth, id))
}
