"""XML of strangers, read safely into a small tree: no DTD, no entities, bounded depth and size.

The rule never to be broken: memory and time are linear in the length of the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

from openami.quantities.errors import FormatError

MAX_BYTES = 256 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 20_000_000
ATOM = "http://www.w3.org/2005/Atom"
ESPI = "http://naesb.org/espi"


@dataclass(slots=True)
class Element:
    """An element: its namespace and local name, where it stands, what is in it.

    ``first`` and ``last`` are byte offsets of its beginning and end; ``line`` counts from 1.
    """

    namespace: str
    name: str
    attributes: dict[str, str]
    line: int
    first: int
    last: int = 0
    last_line: int = 0
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def child(self, name: str) -> Element | None:
        """First child of a local name."""
        return next((child for child in self.children if child.name == name), None)

    def all(self, name: str) -> list[Element]:
        """Children of a local name."""
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str:
        """Text of the first child of a local name, stripped; empty when there is none."""
        found = self.child(name)
        return found.text.strip() if found is not None else ""


def parse_xml(data: bytes) -> Element:
    """Tree of an XML document.

    Raises
    ------
    FormatError
        Not well-formed, with a DTD or entities, too deep or too large; ``where`` is the line.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{len(data)} bytes of XML", expected=f"at most {MAX_BYTES}")
    builder = _Builder(data)
    parser = builder.parser
    try:
        parser.Parse(data, True)
    except expat.ExpatError as fault:
        raise FormatError(f"not XML: {expat.ErrorString(fault.code)}", where=f"line {fault.lineno}") from None
    except (ValueError, LookupError) as fault:
        raise FormatError(f"not XML: {fault}", where=f"line {parser.CurrentLineNumber}") from None
    assert builder.root is not None
    return builder.root


class _Builder:
    """Builds the tree while expat reads.

    Invariant: ``open`` are the elements from the root to where the parser stands.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.root: Element | None = None
        self.open: list[Element] = []
        self.count = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.EntityDeclHandler = self._entity
        self.parser.ExternalEntityRefHandler = self._external

    def _where(self) -> str:
        return f"line {self.parser.CurrentLineNumber}"

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) >= MAX_DEPTH or self.count > MAX_ELEMENTS:
            limit = f"at most {MAX_DEPTH} deep and {MAX_ELEMENTS} elements"
            raise FormatError("XML nested too deep or too large", where=self._where(), expected=limit)
        namespace, _, local = name.rpartition(" ")
        element = Element(
            namespace, local, attributes, self.parser.CurrentLineNumber, self.parser.CurrentByteIndex
        )
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def _end(self, name: str) -> None:
        element = self.open.pop()
        closing = self.data.find(b">", self.parser.CurrentByteIndex)
        element.last = closing + 1 if closing >= 0 else len(self.data)
        element.last_line = self.parser.CurrentLineNumber

    def _text(self, text: str) -> None:
        element = self.open[-1]
        if text.strip():
            element.text += text

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        raise FormatError("a document type declaration", where=self._where(), expected="XML without DTD")

    def _entity(self, *declared: object) -> None:
        raise FormatError("an entity declaration", where=self._where(), expected="XML without entities")

    def _external(self, *reference: object) -> int:
        raise FormatError("an external entity", where=self._where(), expected="XML without entities")
