"""Where the state of each agent is while an env runner samples."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_elmur.model.fast.live import LiveBatch
from rllib_elmur.plugin.memory_module import MemoryModule
from rllib_elmur.plugin.snapshots import pack_rows

Agent = tuple[str, Any]  # the id of a multi-agent episode, and the agent's in it


@dataclass(eq=False)
class Together:
    """Agents that act together: those of the rows of one live batch.

    Attributes:
        agents: The agent of each row.
        live: The live batch.
    """

    agents: list[Agent]
    live: LiveBatch


@dataclass
class AgentStates:
    """The states of all agents of one module, each in a row of a live batch.

    Agents that act in the same step are a batch. Where others act than in any step before, a batch
    is made of their rows; an agent that waits stays in the batch in which it acted last.
    """

    _places: dict[Agent, tuple[Together, int]] = field(default_factory=dict)

    def acting(
        self,
        module: MemoryModule,
        steps: Mapping[Agent, int],
        running: Callable[[], Iterable[Agent]],
    ) -> Together:
        """The batch of the agents that act next, in an order of its own.

        Args:
            module: The module.
            steps: Time steps that each of these agents has taken.
            running: Names all agents whose episodes go on; other agents' states are forgotten.

        Raises:
            RuntimeError: If an agent has taken steps of which its state knows nothing.
        """
        self._follow(module)
        together, _ = self._places.get(next(iter(steps)), (None, 0))
        if together is None or not self._is_whole(together) or steps.keys() != set(together.agents):
            together = self._gather(module, steps, running())
        taken, clock = [steps[agent] for agent in together.agents], together.live.clock.tolist()
        if clock != taken:
            raise RuntimeError(
                f"The agents {[agent for _, agent in together.agents]} stand at time steps {taken},"
                f" the policy's memory at {clock}: steps were taken without the policy "
                "(random_actions=True?). Let it start new episodes (`sample(force_reset=True)`)."
            )
        return together

    def acted(self, agent: Agent) -> Together:
        """The batch in which an agent acted last."""
        return self._places[agent][0]

    def before_last_step(self, agents: Iterable[Agent]) -> dict[Agent, bytes]:
        """Snapshots of the states in which agents of this module took their last steps."""
        rows: dict[Together, list[int]] = defaultdict(list)
        for agent in agents:
            if agent in self._places:
                together, row = self._places[agent]
                rows[together].append(row)
        snapshots = {}
        for together, some in rows.items():
            packed = pack_rows(together.live.state_before(some), together.live.elmur)
            snapshots |= dict(zip([together.agents[row] for row in some], packed, strict=True))
        return snapshots

    def _is_whole(self, together: Together) -> bool:
        """Whether none of a batch's agents has acted in another batch since."""
        return all(self._places[agent][0] is together for agent in together.agents)

    def _gather(
        self, module: MemoryModule, steps: Mapping[Agent, int], running: Iterable[Agent]
    ) -> Together:
        """Makes a batch of the rows of these agents, the new ones among them last."""
        running = set(running)
        self._places = {agent: at for agent, at in self._places.items() if agent in running}
        rows: dict[Together, list[int]] = defaultdict(list)
        for agent in steps:
            if agent in self._places:
                together, row = self._places[agent]
                rows[together].append(row)
        agents = [together.agents[row] for together, some in rows.items() for row in some]
        new = [agent for agent in steps if agent not in self._places]
        live = _joined(module, [(together.live, some) for together, some in rows.items()], len(new))
        made = Together(agents + new, live)
        self._places |= {agent: (made, row) for row, agent in enumerate(made.agents)}
        return made

    def _follow(self, module: MemoryModule) -> None:
        """Moves all states to another model, if the env runner has made its module anew."""
        elmur = module.network.elmur
        for together in {together for together, _ in self._places.values()}:
            if together.live.elmur is elmur:
                return
            together.live = elmur.live(together.live.state(range(len(together.agents))))


def _joined(
    module: MemoryModule, parts: list[tuple[LiveBatch, list[int]]], n_new: int
) -> LiveBatch:
    """Makes a batch of some rows of others, followed by new rows at an episode's start."""
    if not parts:
        return module.get_live_batch(n_new)
    (first, rows), *others = parts
    n_rows = sum(len(some) for _, some in parts) + n_new
    # Copies of any row keep the places of the rows that come.
    live, end = first.take(rows + rows[:1] * (n_rows - len(rows))), len(rows)
    for other, some in others:
        live.put(range(end, end + len(some)), other.take(some))
        end += len(some)
    if n_new:
        live.reset(range(end, n_rows))
    return live
