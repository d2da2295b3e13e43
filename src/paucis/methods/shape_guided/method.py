"""Shape-guided segmentation: without any label, the cluster whose shape passes for that of reference masks."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from paucis.batch import Batch, Task
from paucis.losses.consistency import squared_difference
from paucis.losses.shape_adversary import passing_loss, slope_penalty, telling_loss
from paucis.methods.base import Build, Clock, Method, Phase, Prediction, Setting, Stage, StepResult, register, trainable
from paucis.methods.ld import PATCHES, LDOptions, LocalDiscrimination
from paucis.methods.parts.label_views import LabelView
from paucis.methods.parts.region_clustering import clustered, region_sums
from paucis.methods.parts.surveying import Surveying, Surveyor
from paucis.methods.shape_guided.options import CLUSTERING, CLUSTERS, NAME, SHAPES, ShapeGuidedOptions, chosen
from paucis.methods.shape_guided.retraining import retraining
from paucis.networks.blocks import resize_to
from paucis.networks.shape_discriminator import LEAST, ShapeDiscriminator
from paucis.views.orientations import OrientationParams

WATCHED = 50
"""Steps over which the share of the target channel is averaged, and before which nothing is said of it."""
EARLY = 0.25
"""Share of the stage in which nothing is said either: the clusters begin alike, so that none takes any voxel."""


@register(NAME)
class ShapeGuided(Surveying, LocalDiscrimination):
    """Segmentation without labels: one cluster of voxels is made to have the shapes of masks from elsewhere.

    - ``patches``: local discrimination of patches (``ld``).
    - ``shapes``: ``L = L_Pd + L_Hm + 10 L_Rd + 0.1 L_entropy + L_adv`` (Eq. 33). ``L_adv = BCE(d(r_1), 1)`` makes the
      first cluster's map pass for a reference mask (Eq. 34); a discriminator d of its own phase learns to tell the two
      apart (Eq. 31-32). With d, the Kullback-Leibler divergence of Eq. 19 never has to be written down.
    - ``refined``: a network from scratch on pseudo-labels of this one (``retraining``).

    Answers: ``clusters``, the first cluster of the clustering branch; ``clustering``, the shares of voxels in the
    regions' prototypes (Eq. 20), those of the whole scan.

    Args:
        build: makes a freshly initialised network.
        task: the task; class 1 is what is found.
        options: of all stages.
        before: the first stage, whose network and vectors are gone on from.

    Reference:
        H. Chen et al.: Unsupervised local discrimination for medical images. arXiv:2108.09440.

    Deviations:
        Those of ``LocalDiscrimination`` and ``ShapeDiscriminator``. The network steps before the discriminator, which
        judges the maps that the network made in this step, as in the published code; the paper names the discriminator
        first. Outside the field of view the map is 0 in training too, and so is the reference mask beside it: else its
        border would tell them apart; published: in testing alone.
    """

    Options = ShapeGuidedOptions
    pretrains = False
    uses_references = True
    outputs = (CLUSTERING, CLUSTERS)

    def __init__(
        self, build: Build, task: Task, options: ShapeGuidedOptions, before: LocalDiscrimination | None = None
    ) -> None:
        super().__init__(build, task, options, before=before)
        self.discriminator = ShapeDiscriminator(task.ndim, options.slope)
        self.output = CLUSTERING
        self.found: tuple[Tensor, Tensor] | None = None  # maps and fields of view of this step, for the second phase
        self.watched: Tensor
        self.register_buffer("watched", torch.zeros(4))  # steps, shares of target, references, stage done

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The network with its branches, then the discriminator."""
        own = {id(parameter) for parameter in self.discriminator.parameters()}
        own_settings = {"rate": self.options.discriminator_rate, "schedule": self.options.discriminator_schedule}
        settings: dict[str, Any] = {**_adam(every=0.125), **own_settings}
        return (
            Phase("main", [parameter for parameter in trainable(self) if id(parameter) not in own]),
            Phase("discriminator", trainable(self.discriminator), settings),
        )

    def step(self, batch: Batch, clock: Clock, phase: Phase) -> StepResult:
        """The losses of Eq. 33, or the discriminator's."""
        assert batch.references is not None
        if phase.name == "discriminator":
            return self._discriminate(batch.references)
        result = super().step(batch, clock, phase)
        result.monitors["shape_share"] = batch.references.mean()
        result.memory = {name: result.monitors[name] for name in ("target_share", "shape_share")}  # type: ignore[misc]
        return result

    def after_step(self, clock: Clock, result: StepResult) -> None:
        """Follows how much of the images the target takes."""
        self.watched[0] += 1
        rate = 1 / self.watched[0].clamp(max=WATCHED)
        now = torch.stack([result.memory["target_share"], result.memory["shape_share"]])
        self.watched[1:3] += rate * (now - self.watched[1:3])
        self.watched[3] = clock.fraction

    @property
    def remark(self) -> str | None:
        """Says so where the target channel has become empty or full."""
        steps, target, shapes, done = self.watched.tolist()
        if steps < WATCHED or done < EARLY:
            return None
        return collapse(target, shapes, self.options.penalty)

    def choose(self, output: str) -> None:
        """``clusters`` or ``clustering``."""
        self.output = chosen(self, output)

    @property
    def looks_first(self) -> bool:
        """The prototypes of Eq. 20 are those of the whole scan."""
        return self.output == CLUSTERING

    def survey(self, images: Tensor) -> Tensor:
        """Vectors and clusters (B, D + C, *spatial)."""
        return torch.cat(self._vectors_and_clusters(images), 1)

    def summary(self, maps: Tensor, inside: Tensor) -> Tensor:
        """``region_sums`` of vectors and clusters within the field of view."""
        vectors, clusters = maps[:, : self.options.dim], maps[:, self.options.dim :]
        return region_sums(vectors, clusters * inside.unsqueeze(1))

    def answer(self, images: Tensor, summary: Tensor | None) -> Prediction:
        """The target's share of every voxel as class 1, the rest as background; further classes are not found."""
        if summary is None:
            share = self.cluster(images)[:, :1]
        else:
            sums = summary.expand(len(images), -1, -1)
            share = clustered(self.embed(images), sums, self.options.region_temperature)[:, :1]
        nothing = share.new_zeros(len(share), self.task.classes - 2, *share.shape[2:])
        return Prediction({"probabilities": torch.cat([1 - share, share, nothing], 1)})

    def looked(self, generator: torch.Generator) -> Surveyor:
        """This network as it sees scans in another way, drawn from ``generator``; its answers are turned back."""
        return _Looking(self, LabelView(self.task, self.options, generator))

    @classmethod
    def stages(cls, options: LDOptions) -> tuple[Stage, ...]:
        """``patches``, ``shapes``, and a retraining for each weighting; ``patches`` is left out where warmup is 0."""
        assert isinstance(options, ShapeGuidedOptions)

        def begin(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return LocalDiscrimination(build, task, options, clustered=False)

        def go_on(build: Build, task: Task, earlier: dict[str, Method]) -> Method:
            return cls(build, task, options, before=cast(LocalDiscrimination | None, earlier.get(PATCHES)))

        share, stages = 1 - options.refinement, []
        if options.warmup > 0:
            stages.append(Stage(PATCHES, begin, share * options.warmup, optimizer=_adam(every=0.5)))
        again = options.warmup > 0
        stages.append(Stage(SHAPES, go_on, share * (1 - options.warmup), optimizer=_adam(every=0.125), continues=again))
        return (*stages, *(retraining(options) if options.refinement else ()))

    @classmethod
    def check(cls, setting: Setting, options: LDOptions) -> list[str]:
        """Adds: crops that the discriminator cannot judge, no stage to learn shapes in, and one weighting twice."""
        assert isinstance(options, ShapeGuidedOptions)
        problems = super().check(setting, options)
        if min(setting.task.patch) < LEAST:
            problems.append(
                f"the crop {'x'.join(map(str, setting.task.patch))} is too small for the discriminator, which needs "
                f"{LEAST} voxels along each axis: set data.patch"
            )
        if options.warmup > 0.95:
            problems.append(f"method.warmup={options.warmup:g} leaves no steps to learn shapes: lower it")
        if options.refinement and len(set(options.weighting)) != max(len(options.weighting), 1):
            problems.append("method.weighting names the same twice, or none: name each once")
        return problems

    def _guide(
        self,
        clusters: Tensor,
        kept: Tensor,
        turns: OrientationParams,
        losses: dict[str, Tensor],
        monitors: dict[str, Tensor | float],
    ) -> None:
        inside = resize_to(kept, self.task.patch) > 0.5
        found = resize_to(clusters[:, :1], self.task.patch) * inside
        self.found = found.detach(), inside
        judged = self.discriminator(found)
        losses["adversarial"] = self.options.adversary * passing_loss(judged)  # Eq. 34
        if self.options.agreement:
            losses["agreement"] = self.options.agreement * self._disagreement(clusters[:, :1], kept, turns)
        monitors["passing"] = judged.detach().gt(0).float().mean()
        monitors["target_share"] = (clusters[:, :1].detach() * kept).gt(0.5).sum() / kept.sum().clamp(min=1)

    def _disagreement(self, target: Tensor, kept: Tensor, turns: OrientationParams) -> Tensor:
        """Mean square of what the target's share differs by between the two views of a voxel."""
        first, second = target.chunk(2)
        turned = self.views.turning.invert(second, turns)
        return squared_difference(first, turned, kept.chunk(2)[0].squeeze(1))

    def _discriminate(self, references: Tensor) -> StepResult:
        """Eq. 31-32, of the maps that the network made in this step's first phase."""
        assert self.found is not None
        (maps, inside), self.found = self.found, None
        references = references.to(maps) * inside
        judged = self.discriminator(torch.cat([references, maps]))
        real, found = judged[: len(references)], judged[len(references) :]
        right = torch.cat([real.detach() > 0, found.detach() <= 0]).float().mean()
        losses = {"discriminator": telling_loss(real, found)}
        if self.options.penalty:
            losses["slope"] = self.options.penalty * slope_penalty(self.discriminator, references)
        return StepResult(losses, {"told_apart": right})

    def _vectors_and_clusters(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert self.clustering is not None
        feature = self._feature(images)
        vectors = resize_to(self.embedding(feature), images.shape[2:])
        return torch.nn.functional.normalize(vectors, dim=1, eps=1e-6), resize_to(
            self.clustering(feature), images.shape[2:]
        )


class _Looking:
    """A generator of labels that sees every window through a view."""

    def __init__(self, generator: ShapeGuided, view: LabelView) -> None:
        self.generator, self.view = generator, view

    def survey(self, images: Tensor) -> Tensor:
        return self.view.invert(self.generator.survey(self.view.image(images)))

    def summary(self, maps: Tensor, inside: Tensor) -> Tensor:
        return self.generator.summary(maps, inside)

    def answer(self, images: Tensor, summary: Tensor | None) -> Prediction:
        seen = self.generator.answer(self.view.image(images), summary).additive["probabilities"]
        return Prediction({"probabilities": self.view.invert(seen)})


def collapse(target: float, shapes: float, penalty: float) -> str | None:
    """What to say of a target channel that takes this share of the voxels where reference masks take ``shapes``.

    ``penalty`` is the option of that name, which is advised to whom does not have it.
    """
    if target < 0.05 * shapes:
        state = "empty"
    elif target > min(5 * shapes, (1 + shapes) / 2):
        state = "full"
    else:
        return None
    return (
        f"the target channel is all but {state}: it takes {100 * target:.2g} % of the voxels, reference masks take "
        f"{100 * shapes:.2g} %; train for longer, "
        f"{'' if penalty else 'set method.penalty=1, '}change method.adversary, or take another seed"
    )


def _adam(every: float) -> dict[str, Any]:
    return {"kind": "adam", "rate": 1e-3, "weight_decay": 0.0, "schedule": "halving", "every": every}
