//! What happens next to the keys that tokens of services are signed with? Who verifies has a new key before anybody
//! signs with it, and an old one until its last token has run out.

use crate::facts::SigningKey;

/// Seconds by which clocks may differ.
const LEEWAY: i64 = 60;
/// Seconds after which it is looked again whether all who verify have a new key.
const LOOK_AGAIN: i64 = 30;

/// How long things take, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A key signs so long.
    pub period: i64,
    /// A token holds so long.
    pub lifetime: i64,
    /// A mounted file follows its ConfigMap within this time.
    pub propagation: i64,
}

/// What to do with the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Make a key.
    Make,
    /// Sign with this one from now on.
    Sign(String),
    /// Forget this one: no token of it holds any more.
    Forget(String),
    /// Nothing before this time, in Unix seconds.
    Wait(i64),
}

/// What is next. `known` is since when all who verify have had every key; none: some still lack one.
pub fn turn(keys: &[SigningKey], known: Option<i64>, pace: &Pace, now: i64) -> Turn {
    let gone = |key: &SigningKey| key.retired.map(|retired| retired + pace.lifetime + LEEWAY);
    if let Some(key) = keys.iter().find(|key| gone(key).is_some_and(|gone| now >= gone)) {
        return Turn::Forget(key.kid.clone());
    }
    let signing = keys.iter().filter(|key| key.retired.is_none()).filter_map(|key| key.signs).max();
    let Some(signs) = signing else {
        // Nobody holds a token yet, so nobody can be surprised by a key: the first one signs at once.
        return match keys.iter().find(|key| key.retired.is_none()) {
            Some(key) => Turn::Sign(key.kid.clone()),
            None => Turn::Make,
        };
    };
    let next_forgotten = keys.iter().filter_map(gone).min().unwrap_or(i64::MAX);
    let due = match keys.iter().find(|key| key.signs.is_none()) {
        Some(next) => match known.map(|known| known + pace.propagation) {
            Some(ready) if now >= ready => return Turn::Sign(next.kid.clone()),
            Some(ready) => ready,
            None => now + LOOK_AGAIN,
        },
        None if now >= signs + pace.period => return Turn::Make,
        None => signs + pace.period,
    };
    Turn::Wait(due.min(next_forgotten))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { period: 1000, lifetime: 100, propagation: 10 };

    /// Lives through a time with verifiers that learn of a new key after `delay`, and tells what happened when.
    fn live(until: i64, delay: Option<i64>) -> Vec<(i64, Turn)> {
        let (mut keys, mut told, mut made) = (Vec::<SigningKey>::new(), Vec::new(), 0);
        let mut now = 0;
        while now < until {
            let newest = keys.iter().map(|key| key.made).max().unwrap_or(0);
            let known = delay.map(|delay| newest + delay).filter(|known| *known <= now);
            let next = turn(&keys, known, &PACE, now);
            match &next {
                Turn::Make => {
                    made += 1;
                    let kid = format!("k{made}");
                    keys.push(SigningKey { kid, made: now, signs: None, retired: None });
                }
                Turn::Sign(kid) => {
                    for key in &mut keys {
                        if key.kid == *kid {
                            key.signs = Some(now);
                        } else if key.signs.is_some() {
                            key.retired.get_or_insert(now);
                        }
                    }
                }
                Turn::Forget(kid) => keys.retain(|key| key.kid != *kid),
                Turn::Wait(until) => {
                    assert!(*until > now, "it would never sleep");
                    now = *until;
                    continue;
                }
            }
            told.push((now, next));
            let signing = keys.iter().filter(|key| key.signs.is_some() && key.retired.is_none()).count();
            assert_eq!(signing, usize::from(told.len() > 1), "{told:?}");
        }
        told
    }

    #[test]
    fn the_first_key_signs_at_once() {
        assert_eq!(live(500, Some(0)), [(0, Turn::Make), (0, Turn::Sign("k1".into()))]);
    }

    #[test]
    fn a_key_signs_once_all_verifiers_have_it_and_the_old_one_outlives_its_tokens() {
        assert_eq!(
            live(1200, Some(20)),
            [
                (0, Turn::Make),
                (0, Turn::Sign("k1".into())),
                (1000, Turn::Make),
                // Known at 1020, and mounted everywhere ten seconds later; found at the next look.
                (1030, Turn::Sign("k2".into())),
                (1030 + 100 + 60, Turn::Forget("k1".into())),
            ]
        );
    }

    #[test]
    fn the_old_key_goes_on_signing_while_somebody_lacks_the_new_one() {
        assert_eq!(live(10_000, None), [(0, Turn::Make), (0, Turn::Sign("k1".into())), (1000, Turn::Make)]);
    }
}
