"""What the images are made of: two Dockerfiles, for the two kinds of process.

Both are built in the folder of headrace's source, after ``make wheel``: every package is one of the
locks there, every jar one of the lock in the wheel.
"""

from __future__ import annotations

from headrace.jobs.deploy import flink_jobs, processes
from headrace.jobs.deploy.target import Target

__all__ = ["jobs", "processes_image"]

_PYTHON = "3.11"
_BUILT = """\
FROM python:{python}-bookworm AS built
COPY requirements/build.txt requirements/run.txt /requirements/
RUN python -m venv /opt/headrace \\
 && /opt/headrace/bin/pip install --no-cache-dir --require-hashes -r /requirements/build.txt \\
 && /opt/headrace/bin/pip install --no-cache-dir --require-hashes --no-build-isolation \\
        -r /requirements/run.txt
COPY dist/headrace-{version}-py3-none-any.whl /dist/
RUN /opt/headrace/bin/pip install --no-cache-dir --no-deps /dist/headrace-{version}-py3-none-any.whl
"""


def jobs(target: Target) -> str:
    """Give the Dockerfile of the views and the labels job: Flink, and headrace beside it."""
    return f"""\
# Views and labels: docker build -f FOLDER/Dockerfile.jobs -t {target.image_of("jobs")} .
FROM flink:{flink_jobs.FLINK}-java21 AS flink

{_built(target)}RUN HEADRACE_CACHE=/opt/headrace/cache /opt/headrace/bin/python -c \\
        "from headrace.jobs.machine.java import jars; jars('flink')"

FROM python:{_PYTHON}-slim-bookworm
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends gettext-base libgomp1 procps \\
 && rm -rf /var/lib/apt/lists/*
COPY --from=flink /docker-entrypoint.sh /
COPY --from=flink /opt/java /opt/java
COPY --from=flink /opt/flink /opt/flink
COPY --from=built /opt/headrace /opt/headrace
RUN groupadd --gid {flink_jobs.USER} flink \\
 && useradd --uid {flink_jobs.USER} --gid flink --home-dir /opt/flink flink \\
 && mkdir -p /opt/flink/plugins/{target.plugin} \\
 && cp /opt/flink/opt/{target.plugin}-{flink_jobs.FLINK}.jar /opt/flink/plugins/{target.plugin}/
ENV FLINK_HOME=/opt/flink \\
    HEADRACE_CACHE=/opt/headrace/cache \\
    JAVA_HOME=/opt/java/openjdk \\
    PATH=/opt/headrace/bin:/opt/flink/bin:/opt/java/openjdk/bin:$PATH \\
    PYTHONSAFEPATH=1
WORKDIR /opt/flink
USER {flink_jobs.USER}
ENTRYPOINT ["/docker-entrypoint.sh"]
"""


def processes_image(target: Target) -> str:
    """Give the Dockerfile of the store and the learner."""
    name = target.image_of("processes")
    return f"""\
# Store and learner: docker build -f FOLDER/Dockerfile.processes -t {name} .
{_built(target)}
FROM python:{_PYTHON}-slim-bookworm
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends libgomp1 \\
 && rm -rf /var/lib/apt/lists/* \\
 && groupadd --gid {processes.USER} headrace \\
 && useradd --uid {processes.USER} --gid headrace headrace
COPY --from=built /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH PYTHONSAFEPATH=1
USER {processes.USER}
ENTRYPOINT ["headrace"]
"""


def _built(target: Target) -> str:
    return _BUILT.format(python=_PYTHON, version=target.version)
