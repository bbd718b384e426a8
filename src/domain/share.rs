//! How many runs of one worker an expert may have: all of them but a reserve.
//!
//! The reserve is one eighth of the worker's runs. Only experts with fewer runs than that at work may use
//! it, so that one slow or broken expert never starves the others.

/// The limits of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// `DT_RUNS_MAX`: runs of the worker at once.
    pub runs_max: usize,
    /// `DT_EXPERT_RUNS_MAX`: runs of one expert at once, if the operator set it.
    pub expert_runs_max: Option<usize>,
}

impl Share {
    fn reserve(self) -> usize {
        (self.runs_max / 8).max(1)
    }

    /// Whether an expert with `of_expert` runs at work may begin another one, while the worker has `of_all`
    /// at work.
    pub fn has_room(self, of_expert: usize, of_all: usize) -> bool {
        let is_below_own = self.expert_runs_max.is_none_or(|max| of_expert < max);
        let may_use_reserve = of_expert < self.reserve();
        let is_open_to_all = of_all < self.runs_max.saturating_sub(self.reserve());
        is_below_own && of_all < self.runs_max && (may_use_reserve || is_open_to_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_expert_has_all_runs_but_the_reserve_and_the_reserve_is_for_the_others() {
        let default = Share { runs_max: 256, expert_runs_max: None };
        let limited = Share { runs_max: 256, expert_runs_max: Some(3) };
        let tiny = Share { runs_max: 1, expert_runs_max: None };
        for (share, of_expert, of_all, expected) in [
            (default, 0, 0, true),
            (default, 223, 223, true),
            (default, 224, 224, false),
            // Another expert finds the reserve, and no more of it than its size.
            (default, 0, 224, true),
            (default, 31, 255, true),
            (default, 32, 255, false),
            (default, 0, 256, false),
            (limited, 2, 2, true),
            (limited, 3, 3, false),
            (tiny, 0, 0, true),
            (tiny, 1, 1, false),
        ] {
            let has_room = share.has_room(of_expert, of_all);
            assert_eq!(has_room, expected, "{share:?}: {of_expert} of {of_all}");
        }
    }

    #[test]
    fn an_expert_alone_fills_the_worker_up_to_the_reserve() {
        for runs_max in 1..600 {
            let share = Share { runs_max, expert_runs_max: None };
            let filled = (0..).take_while(|&runs| share.has_room(runs, runs)).count();
            assert_eq!(filled, (runs_max - (runs_max / 8).max(1)).max(1), "{runs_max}");
        }
    }
}
