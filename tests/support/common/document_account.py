"""Which test carries out which piece of the documents, and which pieces cannot be run here.

A key is how a piece begins: whole words of a command, or the first line of a block that is for no
shell.
tests/architecture/test_document_blocks.py holds both sides together.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ran:
    """`by` is a test, whose source has `shown_by`: where the piece comes from, or its words."""

    by: str
    shown_by: str


@dataclass(frozen=True)
class NotHere:
    """It needs what a machine with Python alone has not."""

    reason: str


def ran(by: str, shown_by: str) -> Ran:
    return Ran(f"tests/{by}", shown_by)


DOCKER = NotHere("needs Docker; tests/integration/test_image.py does what the image's build does")
ROOT_ONLY = NotHere("changes the machine's own systemd; the unit is verified by test_deploy.py")
LONG = NotHere(
    "takes up to half an hour; tests/unit/test_benchmark_document.py reads its options and finds"
    " the loads that they choose"
)
REGISTRY = NotHere(
    "asks the package registry; tests/support/services/example_venv.py builds and installs wheels"
)
BY_HAND = "integration/test_document_commands.py::test_a_call_by_hand"
FOR_REAL = ran("integration/test_document_commands.py::test_the_service_for_real", "README.md")
TELLS = "integration/test_document_commands.py::test_the_log_lines_of_the_page"
EXOTEL = ran("integration/test_document_commands.py::test_exotel", "docs/exotel.md")
INSTALL = Ran("Makefile", "$(VENV)/installed-dev: $(VENV)/installed")
DEMO = ran(
    "integration/test_command_line.py"
    "::test_the_demo_proves_every_byte_and_says_where_the_recordings_are",
    '"demo"',
)
CLONE = ran("integration/test_quickstart.py::test_from_the_repository", "the-service")
CONSUMER = ran("integration/test_quickstart.py::test_from_the_repository", "the-consumer")
CALLS = ran("integration/test_quickstart.py::test_from_the_repository", "the-calls")
WHEEL = ran("integration/test_quickstart.py::test_from_the_wheel", "the-wheel")
VIEWS = ran("integration/test_quickstart.py::test_from_the_wheel", "the-views")
SYSTEMD = ran("integration/test_deploy_document.py::test_systemd", 'commands("systemd")')
COMPOSE = ran(
    "integration/test_deploy_document.py::test_compose_files_and_secrets", 'commands("Compose")'
)
KUBERNETES = ran(
    "integration/test_deploy_document.py::test_kubernetes_gets_the_secret_that_the_pods_mount",
    'commands("Kubernetes")',
)
PROXIES = ran("integration/test_proxies.py::test_audio_arrives_complete", "StartProxy")
STORE = "unit/test_store_guide.py"
DIALECT = "integration/test_dialect_guide.py::test_the_contract_holds_for_the_dialect_of_the_guide"
NATS = "integration/test_nats_document.py"
NODE = "integration/test_node_reader.py"
KIT = "integration/test_reader_kit_use.py::test_a_snippet_of_the_docs_reads_a_call_with_the_wheel"
SPEECH = NotHere(
    "needs espeak-ng and sox; what they made is in the folder, and every demo plays it"
)

TRACES = "integration/test_traces_document.py::"

ACCOUNT: dict[str, dict[str, Ran | NotHere]] = {
    "README.md": {
        "make demo": DEMO,
        "make serve": CLONE,
        "carrier": NotHere("a drawing"),
        '{"event":"start"': ran(BY_HAND, "README.md"),
        "1-0  type started": ran(BY_HAND, "what-is-there"),
        "make install": INSTALL,
        "export": FOR_REAL,
        ".venv/bin/rtaa-ingest": FOR_REAL,
    },
    "CONTRIBUTING.md": {
        "git clone": CLONE,
        "make demo": DEMO,
        "make check": Ran(".ci/run", "make check"),
        ".venv/bin/pytest tests/unit": Ran(".ci/run", "make test"),
        "make test": Ran(".ci/run", "make test"),
    },
    "clients/node/README.md": {
        'import { Reader } from "rtaa-reader";': ran(
            f"{NODE}::test_the_consumer_of_the_readme_hears_a_call_over_a_broker_that_is_killed",
            "README.md",
        ),
        'import { Reader, Resampler } from "rtaa-reader";': ran(
            f"{NODE}::test_the_samples_of_the_readme_are_as_long_as_the_call", "README.md"
        ),
        "await reader.run(": ran(
            f"{NODE}::test_the_handler_of_the_readme_writes_a_wav_file", "README.md"
        ),
        "+ping": ran("integration/test_node_workers.py", "<!-- the-rule -->"),
        "npm ci": ran("support/readers/node_reader.py::_install", '["npm", "ci"'),
        "npm run check": ran(f"{NODE}::test_its_types_are_sound", "bin/tsc"),
        "npm test": ran(f"{NODE}::test_its_rules_hold", '"--test"'),
    },
    "clients/python/README.md": {"from rtaa_reader import": ran(KIT, "clients/python/README.md")},
    "docs/benchmarks.md": {"make bench": LONG},
    "docs/broker.md": {
        "ACL SETUSER": ran(
            "integration/test_broker_rights.py::test_the_documentation_shows_the_rule", "broker.md"
        )
    },
    "docs/connecting.md": {
        '{"event":"start"': ran(BY_HAND, "docs/connecting.md"),
        '{"event":"handshake refused"': ran(TELLS, "docs/connecting.md"),
    },
    "docs/deploy.md": {
        "make image": ran(
            "integration/test_deploy_document.py::test_the_image_is_built_of_what_is_checked_out",
            "make image",
        ),
        "docker": DOCKER,
        "mkdir -p -m 700 deploy/secrets": COMPOSE,
        "printf %s 'PASSWORD' >": COMPOSE,
        "chmod 444": COMPOSE,
        "echo EXOTEL_USERNAME=KEY": COMPOSE,
        "make dist": SYSTEMD,
        "sudo python3 -m venv": SYSTEMD,
        "sudo sh -c": SYSTEMD,
        "sudo /opt/rtaa-ingest/bin/pip": SYSTEMD,
        "sudo install -d": SYSTEMD,
        "sudo install -m 644 deploy/systemd/environment": SYSTEMD,
        "sudo install -m 644 deploy/systemd/rtaa-ingest.service": SYSTEMD,
        "printf %s 'redis://127.0.0.1:6379/0' |": SYSTEMD,
        "printf %s 'PASSWORD' |": SYSTEMD,
        "sudo systemctl daemon-reload": ROOT_ONLY,
        "sudo systemctl enable": ROOT_ONLY,
        "sudo systemctl reload nginx": ROOT_ONLY,
        "kubectl create": KUBERNETES,
        "kubectl apply": KUBERNETES,
        "kubectl rollout": NotHere("needs a cluster"),
        "sudo install -m 644 deploy/nginx/rtaa-ingest.conf": PROXIES,
        "sudo nginx -t": PROXIES,
        "haproxy -c -f deploy/haproxy/haproxy.cfg": PROXIES,
        "caddy validate --config deploy/caddy/Caddyfile": PROXIES,
    },
    "docs/exotel.md": {
        "SUPPORT_EXOTEL=true": EXOTEL,
        "EXOTEL_USERNAME=KEY": EXOTEL,
        "EXOTEL_PASSWORD_FILE=/run/secrets/exotel-password": EXOTEL,
        "EXOTEL_TENANTS=your-account-sid": EXOTEL,
        "rtaa-ingest check": EXOTEL,
        "SIMULATE_BASIC=KEY:PASSWORD": EXOTEL,
        "redis-cli": EXOTEL,
        "curl": EXOTEL,
    },
    "docs/extending/dialect.md": {
        "[build-system]": ran(DIALECT, "dialect.md"),
        '"""The dialect `acme`': ran(DIALECT, "dialect.md"),
        '"""The contract of a dialect': ran(DIALECT, "dialect.md"),
        "pip install": REGISTRY,
        "pytest tests": ran(DIALECT, "pytest tests"),
        "rtaa-ingest check": ran(DIALECT, "rtaa-ingest check"),
    },
    "docs/extending/store.md": {
        "def append_one": ran(
            f"{STORE}::test_an_append_is_stored_once_or_told_as_a_conflict", "store.md"
        ),
        "def append_all": ran(
            f"{STORE}::test_an_append_is_stored_once_or_told_as_a_conflict", "store.md"
        ),
        "pip install": REGISTRY,
        "from application.testing": ran(
            f"{STORE}::test_the_kit_is_run_as_the_guide_says", "store.md"
        ),
        "[project.entry-points": ran(f"{STORE}::test_the_entry_point_is_found", "store.md"),
    },
    "docs/kafka.md": {
        "pip install": REGISTRY,
        "python examples/forward_to_kafka.py": ran(
            "integration/test_forward_to_kafka.py"
            "::test_each_entry_of_each_call_is_one_record_in_order_in_one_partition",
            "forward_to_kafka.py",
        ),
        "highest = {}": ran("support/readers/kafka_forwarder.py::without_repeats", "kafka.md"),
    },
    "docs/nats.md": {
        "pip install": REGISTRY,
        "PUBSUB_ADAPTER=nats_jetstream NATS_URL=nats://localhost:4222": ran(
            f"{NATS}::test_the_service_serves", "nats.md"
        ),
        "PUBSUB_ADAPTER=nats_jetstream rtaa-ingest": ran(
            f"{NATS}::test_the_service_serves", "nats.md"
        ),
        "jetstream {": ran(f"{NATS}::test_the_streams_of_an_operator", "nats.md"),
        "nats stream add": ran(f"{NATS}::test_the_streams_of_an_operator", "nats.md"),
        "{ user: USER": ran(
            "integration/test_nats_connection.py::test_the_rule_that_check_prints_is_enough",
            "nats.md",
        ),
    },
    "docs/published-nats.md": {
        '{"v":1': ran(f"{NATS}::test_a_message_has_the_form_of_the_page", "published-nats.md"),
        "python examples/read_calls_nats.py": ran(
            "integration/test_read_calls_nats.py", "examples/read_calls_nats.py"
        ),
        "node examples/read_calls_nats.mjs": ran(
            "integration/test_read_calls_nats.py", "examples/read_calls_nats.mjs"
        ),
        "from read_calls_nats import": ran(
            "integration/test_read_calls_nats.py::test_the_snippet_of_the_docs_hears_a_call",
            "published-nats.md",
        ),
        "{ user: USER": ran(
            "integration/test_read_calls_nats.py"
            "::test_readers_side_by_side_need_no_more_than_the_rights_of_the_docs",
            "published-nats.md",
        ),
    },
    "docs/published.md": {
        "python examples/read_calls.py": ran("integration/test_read_calls.py", "read_calls.py"),
        "from read_calls import": ran("integration/test_read_calls.py", "published.md"),
    },
    "docs/quickstart.md": {
        "git clone": CLONE,
        "make serve": CLONE,
        "export REDIS_URL=redis://127.0.0.1:PORT/0": CONSUMER,
        ".venv/bin/python examples/read_calls.py": CONSUMER,
        ".venv/bin/rtaa-ingest simulate": CALLS,
        "pipx install": WHEEL,
        "SUPPORT_EXOTEL=true": WHEEL,
        "export PUBSUB_ADAPTER=redis_streams": VIEWS,
        "rtaa-ingest": VIEWS,
        "import redis": ran("integration/test_quickstart.py::test_from_the_wheel", "the-program"),
    },
    "docs/reading.md": {
        "from rtaa_reader import": ran(KIT, "docs/reading.md"),
        "ACL SETUSER": ran(
            "integration/test_reader_kit_use.py::test_the_documented_rights_are_enough",
            "reading.md",
        ),
    },
    "docs/design/mutation.md": {
        "make mutate": NotHere("takes minutes for the smallest file, and an hour or two for all"),
    },
    "docs/traces.md": {
        "pip install": REGISTRY,
        "export": ran(f"{TRACES}test_what_is_set_is_checked", "traces.md"),
        "rtaa-ingest check": ran(f"{TRACES}test_what_is_set_is_checked", "traces.md"),
        "from opentelemetry": ran(
            f"{TRACES}test_a_consumer_continues_the_trace_of_the_call", "traces.md"
        ),
    },
    "docs/several-servers.md": {
        "broker = redis.RedisCluster": ran(
            "integration/test_group_rights.py::test_the_lines_of_the_page_reach_both_groups",
            "several-servers.md",
        )
    },
    "examples/file_store/README.md": {
        "pip install": REGISTRY,
        "export": ran("integration/test_example_store.py::test_its_readme", "README.md"),
        "SUPPORT_EXOTEL=true": ran(
            "integration/test_example_store.py::test_its_readme", "README.md"
        ),
        "pytest": ran("integration/test_example_store.py::test_its_readme", "README.md"),
    },
    "examples/vonage/README.md": {
        "pip install": REGISTRY,
        "rtaa-ingest check": ran(
            "integration/test_example_dialect.py::test_its_readme", "README.md"
        ),
        "pytest": ran("integration/test_example_dialect.py::test_its_readme", "README.md"),
        "[{": ran("integration/test_example_dialect.py::dial", "README.md"),
    },
    "src/entrypoints/carrier/speech/README.md": {"espeak-ng": SPEECH, "sox": SPEECH},
}
