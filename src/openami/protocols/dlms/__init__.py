"""DLMS/COSEM (IEC 62056-5-3, -6-2, -47): codec, client and server sessions, all sans-IO."""
