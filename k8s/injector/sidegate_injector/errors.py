"""What can be wrong with what the injector is given, by who has to mend it."""


class Refused(Exception):
    """The pod is refused. The message is for its author, and holds nothing but what the pod says."""


class TemplateInvalid(Exception):
    """The template cannot be used. For the platform's operator.

    Attributes:
        mistakes: Every one of them.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class NotAnAdmissionReview(Exception):
    """The request is none that an API server sends. For whoever sent it."""


class CertificateUnusable(Exception):
    """The certificate or its key cannot be used. For the platform's operator."""
