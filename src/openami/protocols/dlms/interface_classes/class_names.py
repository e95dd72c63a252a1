"""Names of interface classes, their attributes and methods (IEC 62056-6-2; recalled), for what people read.

Rule of this file: a name is for the eye; nothing is decided by it.
"""

from __future__ import annotations

from typing import Final

CLASS_NAMES: Final = {
    1: "Data", 3: "Register", 4: "Extended register", 5: "Demand register", 6: "Register activation",
    7: "Profile generic", 8: "Clock", 9: "Script table", 10: "Schedule", 11: "Special days table",
    12: "Association SN", 15: "Association LN", 17: "SAP assignment", 18: "Image transfer",
    19: "IEC local port setup", 20: "Activity calendar", 21: "Register monitor",
    22: "Single action schedule", 23: "IEC HDLC setup", 24: "IEC twisted pair setup",
    25: "M-Bus slave port setup", 26: "Utility tables", 27: "Modem configuration", 28: "Auto answer",
    29: "Auto connect", 30: "Data protection", 40: "Push setup", 41: "TCP-UDP setup", 42: "IPv4 setup",
    43: "MAC address setup", 44: "PPP setup", 45: "GPRS modem setup", 46: "SMTP setup",
    47: "GSM diagnostic", 48: "IPv6 setup", 61: "Register table", 62: "Compact data", 63: "Status mapping",
    64: "Security setup", 65: "Parameter monitor", 67: "Sensor manager", 68: "Arbitrator",
    70: "Disconnect control", 71: "Limiter", 72: "M-Bus client", 73: "Wireless mode Q channel",
    74: "M-Bus master port setup", 76: "DLMS/COSEM server M-Bus port setup", 77: "M-Bus diagnostic",
    82: "PRIME NB OFDM PLC MAC setup", 90: "G3 NB OFDM PLC MAC layer counters", 111: "Account",
    112: "Credit", 113: "Charge", 115: "Token gateway", 122: "Function control", 123: "Array manager",
    124: "Communication port protection", 151: "LTE monitoring", 152: "CoAP setup", 153: "CoAP diagnostic",
}  # fmt: skip
"""By class id."""

_ATTRIBUTES: Final = {
    1: "value",
    3: "value scaler_unit",
    4: "value scaler_unit status capture_time",
    5: "current_average_value last_average_value scaler_unit status capture_time start_time_current period "
    "number_of_periods",
    7: "buffer capture_objects capture_period sort_method sort_object entries_in_use profile_entries",
    8: "time time_zone status daylight_savings_begin daylight_savings_end daylight_savings_deviation "
    "daylight_savings_enabled clock_base",
    9: "scripts",
    15: "object_list associated_partners_id application_context_name xDLMS_context_info "
    "authentication_mechanism_name secret association_status security_setup_reference user_list current_user",
    17: "SAP_assignment_list",
    18: "image_block_size image_transferred_blocks_status image_first_not_transferred_block_number "
    "image_transfer_enabled image_transfer_status image_to_activate_info",
    20: "calendar_name_active season_profile_active week_profile_table_active day_profile_table_active "
    "calendar_name_passive season_profile_passive week_profile_table_passive day_profile_table_passive "
    "activate_passive_calendar_time",
    22: "executed_script type execution_time",
    40: "push_object_list send_destination_and_method communication_window randomisation_start_interval "
    "number_of_retries repetition_delay",
    64: "security_policy security_suite client_system_title server_system_title certificates",
    70: "output_state control_state control_mode",
    71: "monitored_value threshold_active threshold_normal threshold_emergency min_over_threshold_duration "
    "min_under_threshold_duration emergency_profile emergency_profile_group_id_list emergency_profile_active "
    "actions",
}  # fmt: skip
_METHODS: Final = {
    3: "reset", 4: "reset", 5: "reset next_period", 7: "reset capture",
    8: "adjust_to_quarter adjust_to_measuring_period adjust_to_minute adjust_to_preset_time "
    "preset_adjusting_time shift_time",
    9: "execute",
    15: "reply_to_HLS_authentication change_HLS_secret add_object remove_object add_user remove_user",
    18: "image_transfer_initiate image_block_transfer image_verify image_activate",
    20: "activate_passive_calendar", 40: "push", 64: "security_activate key_transfer key_agreement "
    "generate_key_pair generate_certificate_request import_certificate export_certificate remove_certificate",
    70: "remote_disconnect remote_reconnect",
}  # fmt: skip


def class_name(class_id: int) -> str:
    """``3 Register``; the number alone where the class has no name here."""
    return f"{class_id} {CLASS_NAMES[class_id]}" if class_id in CLASS_NAMES else str(class_id)


def attribute_name(class_id: int, index: int) -> str:
    """``2 value``; the number alone where the attribute has no name here."""
    if index == 0:
        return "0 all attributes"
    names = ["logical_name", *_ATTRIBUTES.get(class_id, "").split()]
    return f"{index} {names[index - 1]}" if 1 <= index <= len(names) else str(index)


def method_name(class_id: int, index: int) -> str:
    """``1 remote_disconnect``; the number alone where the method has no name here."""
    names = _METHODS.get(class_id, "").split()
    return f"{index} {names[index - 1]}" if 1 <= index <= len(names) else str(index)
