"""COSEM interface classes (IEC 62056-6-2) over an injected object store: values come from callables."""
