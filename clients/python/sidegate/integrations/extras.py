"""What to say where a framework is missing."""


def missing(error: ModuleNotFoundError, framework: str) -> ImportError:
    """What to raise in place of an import that failed: how to get the framework, if that is what is missing."""
    if error.name is None or error.name.partition(".")[0] != framework:
        return error
    return ImportError(
        f"sidegate.integrations.{framework} needs {framework}, which is not installed: "
        f"pip install 'sidegate[{framework}]'",
        name=error.name,
    )
