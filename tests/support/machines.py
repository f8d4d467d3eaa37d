"""Machines of EC2 that the environments ask for: https://aws.amazon.com/ec2/instance-types."""

from __future__ import annotations

from dataclasses import dataclass

# What kubelet, system and the DaemonSets of every node leave to other pods, with a margin. EKS
# keeps 80 of 4,000 millicores, and of memory 0.3 GiB and 11 MiB for each pod that there may be;
# the machine itself some percent.
_CPU_SHARE = 0.9
_MEMORY_SHARE, _MEMORY_KEPT_GIB = 0.95, 2.0


@dataclass(frozen=True, slots=True)
class Machine:
    """One instance type: processors, GiB of memory, GPUs."""

    cpus: int
    memory_gib: int
    gpus: int = 0

    @property
    def room_cpus(self) -> float:
        """Return the processors that pods of ours may ask for."""
        return self.cpus * _CPU_SHARE

    @property
    def room_gib(self) -> float:
        """Return the memory that pods of ours may ask for, in GiB."""
        return self.memory_gib * _MEMORY_SHARE - _MEMORY_KEPT_GIB

    def shortage(self, cpus: float, memory_gib: float, gpus: int) -> str:
        """Return what a pod that asks for so much lacks on an empty one; "" when it fits."""
        if gpus > self.gpus:
            return f"{gpus} GPUs, has {self.gpus}"
        if cpus > self.room_cpus:
            return f"{cpus:g} processors, has room for {self.room_cpus:g}"
        if memory_gib > self.room_gib:
            return f"{memory_gib:g} GiB, has room for {self.room_gib:g}"
        return ""


MACHINES = {
    "t3.large": Machine(2, 8),
    "t3a.large": Machine(2, 8),
    "t3.xlarge": Machine(4, 16),
    "t3a.xlarge": Machine(4, 16),
    "m6i.large": Machine(2, 8),
    "m7i.large": Machine(2, 8),
    "m6i.xlarge": Machine(4, 16),
    "m7i.xlarge": Machine(4, 16),
    "m6i.2xlarge": Machine(8, 32),
    "m7i.2xlarge": Machine(8, 32),
    "g6.xlarge": Machine(4, 16, 1),
    "g6.2xlarge": Machine(8, 32, 1),
    "g6.4xlarge": Machine(16, 64, 1),
    "g6.8xlarge": Machine(32, 128, 1),
    "g6.12xlarge": Machine(48, 192, 4),
    "g6.24xlarge": Machine(96, 384, 4),
    "g6.48xlarge": Machine(192, 768, 8),
    "g6e.12xlarge": Machine(48, 384, 4),
    "g6e.24xlarge": Machine(96, 768, 4),
    "g6e.48xlarge": Machine(192, 1536, 8),
    "p5.4xlarge": Machine(16, 256, 1),
    "p5.48xlarge": Machine(192, 2048, 8),
}
