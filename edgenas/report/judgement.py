"""A sentence of plain judgement for each figure, doubts included."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from edgenas.report.formats import count, duration, ms, number, percent, size
from edgenas.report.network import Block
from edgenas.report.values import BudgetLine, BundleFacts, Chosen, Int8, Network, Run, Score

PLAIN_FORM = "direct"
FEW_NETWORKS = 20
"""Held-out networks below which shares such as coverage are rough."""
NOISY = 0.05
"""Repeat noise above which a device is called unsteady."""
POOR_TAU = 0.8
"""Kendall tau below which a ranking by prediction is called unreliable."""
FEW_IMAGES = 4
"""A difference in right answers to the same pictures of at most this many is within chance.

At least as many pictures as the difference are answered otherwise; the sign test's two standard errors over them are
twice the root of their number, which up to 4 is no less than the difference (McNemar 1947).
"""
RISING = 0.01
"""Share of the final hypervolume gained in about the last quarter above which a search is called unfinished."""


def latency_budgets(run: Run, device: str) -> tuple[BudgetLine, ...]:
    """Budgets in time on a device; one that names no device is of the first."""
    first = run.devices[0]
    return tuple(b for b in run.summary.budgets if b.unit == "us" and (b.device or first) == device)


def meets(network: Network) -> bool | None:
    """Whether a network was measured to meet its budgets on every device; None where that is unknown."""
    verdicts = [latency.meets_budget for latency in network.latency.values()]
    if False in verdicts:
        return False
    return None if None in verdicts or not verdicts else True


def front(run: Run) -> str:
    """How many networks of the front meet the budgets, and what was chosen."""
    networks = run.summary.front
    kept = sum(meets(network) is True for network in networks)
    chosen = run.summary.chosen
    if chosen is None:
        return f"None of {len(networks)} networks was measured to meet every budget"
    lead = f"{kept} of {len(networks)} networks were measured to meet every budget"
    if not any(latency.p50_us for network in networks for latency in network.latency.values()):
        lead = f"{len(networks)} networks are predicted to meet every budget, and none was measured"
    elif not run.summary.budgets:
        lead = f"{len(networks)} networks form the front"
    return f"{lead}; the chosen one reaches {percent(chosen.val_top1)} validation top-1"


def accuracy(run: Run) -> str | None:
    """Where accuracies come from that no supernet of the run told, and how good they are."""
    found = run.summary.accuracy
    if found is None:
        return None
    if found.rows is None:
        return f"Accuracies are what `{found.predictor}` predicts; how far that is off is not known"
    return (
        f"Accuracies of {found.rows:,} archs were measured elsewhere (`{found.file}`), those of all others are learnt "
        f"from them: leaving one out, the root mean square error is {number(found.rmse_points)} points, Kendall tau "
        f"{number(found.kendall_tau)}, and {percent(found.coverage_90, 0)} lie within their 90 % interval"
    )


def front_doubts(run: Run, device: str) -> str | None:
    """What the timer doubts about the front's measurements; None where it doubts none."""
    known = [n.latency[device].doubts for n in run.summary.front if device in n.latency]
    doubted = [doubts for doubts in known if doubts]
    if not doubted:
        return None
    return f"{device}: the timer doubts {len(doubted)} of {len(known)} measurements: {doubted[0][0]}"


def front_on(run: Run, device: str) -> str:
    """How well predictions held on the front."""
    known = [n.latency[device] for n in run.summary.front if device in n.latency]
    pairs = [(k.interval_us, k.p50_us) for k in known if k.interval_us is not None and k.p50_us is not None]
    if not pairs:
        return f"{device}: no network of the front was measured"
    held = sum(low <= p50 <= high for (low, high), p50 in pairs)
    coverage = next((k.coverage for k in known if k.coverage is not None), None)
    said = f"the {percent(coverage, 0)} interval" if coverage else "the interval"
    return f"{device}: {said} held for {held} of {len(pairs)} measured networks"


def optimism(run: Run) -> str:
    """Validation against test top-1 of the chosen network."""
    chosen = run.summary.chosen
    if chosen is None or chosen.test_top1 is None:
        return "The chosen network was not scored on the test images."
    gap = 100 * (chosen.val_top1 - chosen.test_top1)
    # The counts are of the run's own pictures.
    n = None if _taught_others(run) else run.dataset.counts.get("test")
    of = f" of {n:,} images" if n else ""
    noise = f" (its own sampling error is about ±{_sampling_error(chosen.test_top1, n):.1f} points)" if n else ""
    side = "below" if gap > 0 else "above"
    return f"Its test top-1{of} is {abs(gap):.1f} points {side} the validation top-1{noise}."


def _taught_others(run: Run) -> bool:
    return run.summary.finetune is not None and run.summary.finetune.val_top1_before is None


def finetuned(run: Run) -> str:
    """What fine-tuning the chosen network brought; empty where there was none."""
    found = run.summary.finetune
    if found is None:
        return ""
    after = f"Fine-tuned for {duration(found.seconds)}"
    if found.val_top1_before is None:
        return f"{after} on {found.dataset}, whose classes it tells: validation top-1 {percent(found.val_top1_after)}."
    change = f"validation top-1 {percent(found.val_top1_before)} before, {percent(found.val_top1_after)} after"
    kept = "" if found.val_top1_after > found.val_top1_before else "; what is exported is the network as it was"
    return f"{after}: {change}{kept}."


def _sampling_error(rate: float, n: int) -> float:
    """Standard error of a rate over n images, in points."""
    return 100 * float((rate * (1 - rate) / n) ** 0.5)


def int8(run: Run) -> str:
    """What int8 of the chosen network costs and gives, in one phrase."""
    chosen, found = run.summary.chosen, run.summary.int8
    assert chosen is not None
    assert found is not None
    val_top1, test_top1 = fp32_top1(chosen, found)
    costs = f"int8 {_lost(val_top1 - found.val_top1)} of validation top-1"
    if test_top1 is not None:
        costs += f" and {_lost(test_top1 - found.test_top1)} of test top-1"
    worth = [device for device, one in found.latency.items() if one.worth_it]
    if not worth:
        return f"{costs}, and is not worth it: it is no faster on {', '.join(found.latency)}"
    gains = ", ".join(f"{found.latency[device].speedup:.2f} times as fast on {device}" for device in worth)
    other = [device for device in found.latency if device not in worth]
    return f"{costs}, and is {gains}" + (f"; it is not worth it on {', '.join(other)}" if other else "")


def fp32_top1(chosen: Chosen, found: Int8) -> tuple[float, float | None]:
    """Validation and test top-1 of the fp32 file; where a device runs int8, the chosen network's are that one's."""
    if found.fp32_val_top1 is None:
        return chosen.val_top1, chosen.test_top1
    return found.fp32_val_top1, found.fp32_test_top1


def int8_doubts(run: Run) -> list[str]:
    """What speaks for and against int8's figures, one sentence each."""
    checks = (_int8_allowed, _int8_drop, _int8_recipes, _int8_timing)
    return [sentence for check in checks for sentence in check(run)]


def _int8_allowed(run: Run) -> list[str]:
    found = run.summary.int8
    if found is None or found.max_drop is None:
        return []
    return [f"Up to {100 * found.max_drop:.1f} points of validation top-1 were allowed to be lost."]


def _int8_drop(run: Run) -> list[str]:
    chosen, found, n = run.summary.chosen, run.summary.int8, run.dataset.counts.get("test")
    test_top1 = fp32_top1(chosen, found)[1] if chosen and found else None
    if found is None or test_top1 is None or not n:
        return []
    images = round(n * abs(test_top1 - found.test_top1))
    if images > FEW_IMAGES:
        return []
    if images == 0:
        return [f"As many of {n:,} test images are right as in fp32."]
    return [f"Doubt: on the test images that is {images} of {n:,}, too few to tell from chance."]


def _int8_recipes(run: Run) -> list[str]:
    found, n = run.summary.int8, run.dataset.counts.get("validation")
    if found is None or len(found.recipes_tried) < 2 or not n:
        return []
    n = min(n, run.config.get("search", {}).get("validation_images") or n)
    scores = sorted(found.recipes_tried.values(), reverse=True)
    images = round(n * (scores[0] - scores[1]))
    if images > FEW_IMAGES:
        return []
    return [f"Doubt: the best two recipes are {images} of {n:,} validation images apart: chance may have chosen."]


def _int8_timing(run: Run) -> list[str]:
    found = run.summary.int8
    assert found is not None
    said = []
    for device, one in found.latency.items():
        if one.doubts:
            said.append(f"Doubt: {device}: the timer doubts this measurement: {one.doubts[0]}.")
        noise = max(one.repeat_noise, one.fp32_repeat_noise or 0.0)
        if noise > NOISY:
            said.append(f"Doubt: {device} is unsteady: either file, timed again, differs by {percent(noise)}.")
    return said


def _lost(drop: float) -> str:
    """What a drop of top-1 comes to, in points."""
    points = round(100 * drop, 1)
    return f"{'gains' if points < 0 else 'loses'} {abs(points):.1f} points"


def form(run: Run, device: str) -> str | None:
    """What the form of exported graphs gained on a device; None where none was compared there."""
    ratios = {} if run.forms is None else run.forms.latency_ratio.get(device, {})
    own = sorted(ratios.get(run.forms.form, ())) if run.forms else []
    if not own or run.forms is None:
        return None
    where = f"of the plain form's latency on {device}"
    if run.forms.form == PLAIN_FORM:
        others = ", ".join(f"`{name}` {median(values):.2f}" for name, values in ratios.items() if name != PLAIN_FORM)
        told = f"{others} {where}, medians of {len(own)} networks"
        return f"Graphs are exported as torch writes them: no other form gained a percent ({told})."
    spread = f"median of {len(own)} networks; {own[0]:.2f} to {own[-1]:.2f}"
    return f"Graphs are exported in the form `{run.forms.form}`, which takes {median(own):.2f} {where} ({spread})."


def predictor(score: Score) -> str:
    """The predictor's error in one phrase."""
    return (
        f"Predictions miss by {percent(score.mape)} on average on {score.n_test} unseen networks; "
        f"{percent(score.within_5, 0)} lie within ±5 %"
    )


def predictor_doubts(score: Score) -> list[str]:
    """What speaks for and against trusting the predictor, one sentence each."""
    return [sentence for check in (_noise, _baseline, _ranking, _intervals, _bias, _few) if (sentence := check(score))]


def _noise(score: Score) -> str:
    noise = score.repeat_noise
    if noise is None:
        return "Doubt: the device's repeat noise is unknown, so nobody can say how good a prediction could be."
    if noise > NOISY:
        return (
            f"Doubt: the device is unsteady: the same network, timed again, differs by {percent(noise)}; no "
            "predictor can do better than that."
        )
    return (
        f"The same network, timed again, differs by {percent(noise)}: the prediction error is "
        f"{score.mape / noise:.1f} times what repeating a measurement costs."
        if noise > 0
        else ""
    )


def _baseline(score: Score) -> str:
    baselines = {"a line through MACs": score.mape_macs_linear, "a plain sum of blocks": score.mape_plain_sum}
    known = {name: value for name, value in baselines.items() if value is not None}
    if not known:
        return ""
    name = min(known, key=lambda each: known[each])
    if known[name] <= score.mape:
        return f"Doubt: {name} does as well ({percent(known[name])}); the predictor adds nothing here."
    return f"The best simple baseline, {name}, misses by {percent(known[name])}."


def _ranking(score: Score) -> str:
    tau = score.kendall_tau
    if tau is None or tau >= POOR_TAU:
        return ""
    return f"Doubt: a Kendall tau of {tau:.2f} means that close networks are often ranked the wrong way round."


def _intervals(score: Score) -> str:
    coverage = score.coverage_90
    if coverage is None:
        return ""
    # Two standard errors of a 90 % coverage counted over n_test networks.
    slack = 2 * (0.09 / max(score.n_test, 1)) ** 0.5
    if coverage < 0.9 - slack:
        return f"Doubt: the 90 % intervals held for only {percent(coverage, 0)} of the networks; they are too narrow."
    return f"The 90 % intervals held for {percent(coverage, 0)} of the networks."


def _bias(score: Score) -> str:
    bias = score.bias
    if bias is None or abs(bias) < max(0.01, score.mape / 2):
        return ""
    side = "slower" if bias > 0 else "faster"
    return f"Doubt: predictions lean one way: networks look {percent(abs(bias))} {side} than they are."


def _few(score: Score) -> str:
    if score.n_test >= FEW_NETWORKS:
        return ""
    return f"Doubt: {score.n_test} unseen networks are few; shares counted over them are rough."


def training(run: Run) -> str:
    """Where training ended, and what the smallest and the largest subnet reach."""
    if not run.steps:
        taken = run.config["train"].get("epochs") == 0
        return f"Weights are those of `{run.config['train']['init']}`" if taken else "No training step was recorded"
    lead = f"Loss fell from {run.steps[0].loss:.2f} to {_last_loss(run):.2f} in {run.steps[-1].epoch:.3g} epochs"
    if run.steps[0].loss <= _last_loss(run):
        lead = f"Doubt: the loss did not fall ({run.steps[0].loss:.2f} to {_last_loss(run):.2f})"
    if not run.validations:
        return lead
    ends = ", ".join(f"{name} {percent(value)}" for name, value in run.validations[-1].top1.items())
    return f"{lead}; validation top-1 at the end: {ends}"


def taught(run: Run) -> str:
    """What was done to the supernet's weights."""
    supernet = run.summary.supernet
    if supernet is None or not supernet.images_per_second:
        return "taken over as they are"
    return f"trained for {duration(supernet.train_seconds)} at {supernet.images_per_second:,.0f} images/s"


def _last_loss(run: Run) -> float:
    """Mean loss over the last twentieth of the steps, for one step's loss is noisy."""
    last = run.steps[-max(1, len(run.steps) // 20) :]
    return sum(step.loss for step in last) / len(last)


def search(run: Run) -> str:
    """Whether the search had settled."""
    facts = run.search
    history, counts = facts.hypervolume_by_batch, facts.evaluations_by_batch
    lead = f"{facts.evaluations} evaluations in {duration(facts.seconds)}"
    if facts.exhausted:
        return f"{lead}: all there are within the budgets"
    if len(history) < 4 or history[-1] <= 0:
        return f"{lead}; too short to tell whether it had settled"
    n, before = max(pair for pair in zip(counts, history, strict=True) if pair[0] <= max(0.75 * counts[-1], counts[0]))
    gain = (history[-1] - before) / history[-1]
    said = f"the last {counts[-1] - n} added {percent(gain)} of the hypervolume"
    return f"{lead}; {said}: more would likely find better" if gain > RISING else f"{lead}; {said}: it had settled"


def amount(line: BudgetLine, value: float) -> str:
    """A value of a budget's quantity, with its unit."""
    if line.unit == "us":
        return f"{ms(value)} ms"
    return size(value) if line.unit == "bytes" else count(value)


def budget(line: BudgetLine, run: Run) -> str:
    """A budget in words, `p50 on here: at most 0.400 ms`."""
    if line.unit == "us":
        return f"{line.quantity} on {line.device or run.devices[0]}: at most {ms(line.limit)} ms"
    name = "MACs" if line.quantity == "macs" else line.quantity.replace("_", " ")
    return f"{name}: at most {amount(line, line.limit)}"


def blocks(device: str, network: Sequence[Block], whole_us: float | None) -> str:
    """Which block takes most, and how far the blocks' sum is from the whole network."""
    known = [(block, value) for block in network if (value := block.latency_us.get(device)) is not None]
    if not known:
        return f"{device}: no block's latency is known by itself"
    total = sum(value for _, value in known)
    slowest, most = max(known, key=lambda pair: pair[1])
    said = f"{device}: {slowest.name} takes most, {percent(most / total, 0)} of the blocks' sum of {ms(total)} ms"
    if len(known) < len(network):
        return f"{said}; {len(network) - len(known)} blocks are not known by themselves"
    if whole_us:
        said += f"; the whole network was measured at {ms(whole_us)} ms"
    regressed = sum(device not in block.measured for block in network)
    return said + (f"; {regressed} of {len(network)} blocks were not timed but regressed" if regressed else "")


def by_class(run: Run) -> str:
    """Which class is hardest, and how rough that is."""
    bundle = run.bundle
    known = [] if bundle is None else _class_rates(bundle)
    if not known:
        return "Accuracy by class was not recorded: `edgenas export` of this version records it"
    (worst, low, images), (_, high, _) = known[0], known[-1]
    said = f"{worst} is hardest, {percent(low)} of {images:,} test images; the easiest class reaches {percent(high)}"
    error = _sampling_error(low, images)
    return f"{said} (sampling error of the former about ±{error:.1f} points)" if error else said


def _class_rates(bundle: BundleFacts) -> list[tuple[str, float, int]]:
    """Class, test top-1 and images of those that have some, hardest first."""
    scores = bundle.accuracy
    rows = zip(bundle.classes, scores.test_top1_by_class, scores.test_images_by_class, strict=False)
    return sorted(((name, rate, images) for name, rate, images in rows if rate is not None), key=lambda row: row[1])


def cost(run: Run) -> str:
    """What the run took, as far as it was recorded."""
    supernet, searched = run.summary.supernet, run.search.seconds
    trained = "Nothing was trained"
    if supernet and supernet.images_per_second:
        trained = f"Training took {duration(supernet.train_seconds)}"
    return (
        f"{trained}, the search took {duration(searched)}: "
        f"{run.search.evaluations} networks judged at {duration(searched / max(run.search.evaluations, 1))} each, none "
        "of them trained anew. Energy was not recorded"
    )
