from pathlib import Path

import pytest

import stack_roster
from consul_cluster.template_files import Template, TemplateError, read_templates, unknown_services
from services import roster
from settings import Settings
from stack_roster import UnfitServicesError
from tests.forty_services import forty_roster

NAMES = [service.name for service in forty_roster().services]


def unknown(content: str) -> list[str]:
    return list(unknown_services([Template("templates/a.ctmpl", content)], NAMES, "dc1"))


@pytest.mark.parametrize(
    "content",
    [
        '{{ range service "billing_service" }}{{ .Address }}{{ end }}',
        '{{range service "Billing_Service"}}{{end}}',
        '{{- with service "v1.billing_service@dc1~_agent|passing,warning" -}}{{ end }}',
        "{{ range service `billing_service|any` }}{{ end }}",
        '{{ range service "consul" }}{{ end }}',
        '{{ range service "postgres@eu-1" }}{{ end }}',
        '{{ range service "postgres?peer=eu" }}{{ end }}',
        "{{ range services }}{{ range service .Name }}{{ end }}{{ end }}",
        '{{ range services }}{{ range service (printf "%s|any" .Name) }}{{ end }}{{ end }}',
        '{{/* range service "none_at_all" */}}',
        '{{- /* range\nservice "none_at_all" */ -}}',
        'service "none_at_all";',
        '{{ $service := "none_at_all" }}{{ .service }} {{ key "none_at_all" }}',
        '{{ range service "no name" }}{{ end }}',  # consul-template itself refuses it
        "",
    ],
)
def test_a_template_that_names_the_stacks_services_or_none_is_right(content: str) -> None:
    assert unknown(content) == []


@pytest.mark.parametrize(
    "look_up", ['service "biling_service"', 'connect "v1.biling_service|any"', "service\n\t`biling_service`"]
)
def test_a_name_that_no_service_has_is_refused_with_its_file_and_the_nearest_one(look_up: str) -> None:
    assert unknown(f"upstream {{\n{{{{- range {look_up} }}}} {{{{ end }}}}\n}}") == [
        "templates/a.ctmpl: 'biling_service' is no name of a service of this stack: billing_service is"
    ]


def test_a_name_that_is_near_none_is_refused_without_one() -> None:
    assert unknown('{{ range service "q" }}{{ end }}') == [
        "templates/a.ctmpl: 'q' is no name of a service of this stack"
    ]


def test_each_name_is_refused_once_in_a_template() -> None:
    content = '{{ range service "q" }}{{ end }}{{ range service "z" }}{{ end }}{{ with service "q" }}{{ end }}'
    assert [line.split("'")[1] for line in unknown(content)] == ["q", "z"]


def test_the_templates_of_a_folder_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.json.ctmpl", "a.conf.ctmpl", ".hidden.ctmpl", "reload.sh"):
        (tmp_path / name).write_text(name)
    found = read_templates(str(tmp_path))
    assert [(each.source, each.destination, each.content) for each in found] == [
        ("a.conf.ctmpl", "a.conf", "a.conf.ctmpl"),
        ("b.json.ctmpl", "b.json", "b.json.ctmpl"),
    ]


def test_without_a_folder_there_are_none() -> None:
    assert read_templates(None) == []


def test_a_template_that_is_no_text_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.ctmpl").write_bytes(b"\xff\xfe")
    with pytest.raises(TemplateError) as refused:
        read_templates(str(tmp_path))
    assert str(refused.value) == f"{tmp_path}/a.ctmpl: is not UTF-8 text"


def test_a_folder_in_the_place_of_a_template_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.ctmpl").mkdir()
    with pytest.raises(TemplateError) as refused:
        read_templates(str(tmp_path))
    assert str(refused.value) == f"{tmp_path}/a.ctmpl: cannot be read: Is a directory"


def test_a_stack_whose_template_names_no_service_of_its_own_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ctmpl").write_text('{{ range service "biling_service" }}{{ end }}')
    monkeypatch.setattr(roster, "load_roster", lambda _: forty_roster())
    config = {"agentAddress": "http://127.0.0.1:8501", "serverAddress": "http://127.0.0.1:8500"}
    with pytest.raises(UnfitServicesError) as refused:
        stack_roster.load(Settings.model_validate({**config, "templates": str(tmp_path)}))
    assert str(refused.value) == (
        f"{tmp_path}/a.ctmpl: 'biling_service' is no name of a service of this stack: billing_service is"
    )
