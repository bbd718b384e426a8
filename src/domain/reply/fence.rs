//! Fences of code in markdown: which line opens one, and which line closes it.
//!
//! A fence holds shorter runs of back-ticks as text, so that an answer may quote markdown that has
//! fences of its own. Only a run at least as long as the opening one closes it. A run of more than
//! [`TICKS_MAX`] opens nothing, because a cut fence is closed and opened again within a small message.

const TICKS_MIN: usize = 3;
const TICKS_MAX: usize = 16;

/// An open fence, known by the length of its opening run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fence {
    ticks: usize,
}

impl Fence {
    /// The fence that `line` opens outside of any other. Back-ticks behind the run make it code in a line.
    pub(super) fn opened_by(line: &str) -> Option<Self> {
        let line = line.trim_start();
        let rest = line.trim_start_matches('`');
        let ticks = line.len() - rest.len();
        let is_one = (TICKS_MIN..=TICKS_MAX).contains(&ticks) && !rest.contains('`');
        is_one.then_some(Self { ticks })
    }

    pub(super) fn is_closed_by(self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.ticks && line.bytes().all(|byte| byte == b'`')
    }

    /// The shortest line that closes it.
    pub(super) fn end(self) -> String {
        "`".repeat(self.ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_three_to_sixteen_back_ticks_opens_a_fence() {
        let most = "`".repeat(16);
        for (line, ticks) in [("```", 3), ("  ```rust", 3), ("````markdown", 4), (&*most, 16)] {
            assert_eq!(Fence::opened_by(line), Some(Fence { ticks }), "{line}");
        }
        let over = "`".repeat(17);
        for line in ["``", "", "a ```", "```code``` in a line", "``` `", &over] {
            assert_eq!(Fence::opened_by(line), None, "{line}");
        }
    }

    #[test]
    fn only_a_run_at_least_as_long_closes_a_fence() {
        let fence = Fence { ticks: 4 };
        for line in ["````", "  `````  "] {
            assert!(fence.is_closed_by(line), "{line}");
        }
        for line in ["```", "````js", "", "~~~~"] {
            assert!(!fence.is_closed_by(line), "{line}");
        }
        assert!(fence.is_closed_by(&fence.end()));
    }
}
