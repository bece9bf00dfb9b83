"""How Prometheus' and Grafana's files are written."""

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: object) -> bool:
        """Write what stands twice out twice: a person reads it."""
        return True


def yaml_text(document: object) -> str:
    """Return a document as YAML, its keys in their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120)
