"""Pods: what a pod's status says, read from the API server's JSON."""

from typing import Any

IMAGE = "spark.kubernetes.container.image"
# A pod that waits for one of these waits for a person.
UNPULLED = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
UNMADE = ("CreateContainerConfigError", "CreateContainerError")


def waits_for(pod: dict[str, Any]) -> str:
    """What keeps a pod from starting, in the words of the scheduler or the kubelet; "" where nothing does."""
    status = pod.get("status", {})
    for container in status.get("containerStatuses", []):
        if waiting := container.get("state", {}).get("waiting"):
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"no node takes it: {condition.get('message', '')}"
    return ""


def stuck(pod: dict[str, Any]) -> str:
    """Why a pod will not start before a person has acted, with the remedy; "" where it may yet."""
    told = waits_for(pod)
    cause = told.partition(": ")[0]
    if cause in UNPULLED:
        image = pod["spec"]["containers"][0].get("image")
        return (
            f"the image {image} cannot be pulled ({told}): push it, correct its name, or name the secret of its "
            f"registry with --conf {IMAGE}.pullSecrets=NAME"
        )
    if cause in UNMADE:
        return f"the container cannot be made ({told}): make the secret or config map that it names, or name another"
    return ""


def ended(pod: dict[str, Any]) -> str:
    """How a pod failed, as far as it is known."""
    status = pod.get("status", {})
    told = [status.get("reason"), status.get("message")]
    for container in status.get("containerStatuses", []):
        if over := container.get("state", {}).get("terminated"):
            told += [f"{container.get('name')} exited {over.get('exitCode')}", over.get("reason"), over.get("message")]
    return ", ".join(str(text).strip() for text in told if text) or "it is not known why"
