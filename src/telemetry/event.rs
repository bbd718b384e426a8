//! The words for event types in metrics.
//!
//! A type is a word of DingTalk, and in clear-text callbacks of any sender that saw one signature. Each word would be
//! a series that is kept for good, so only types that DingTalk documents are named; all others are `other`.

const OTHER: &str = "other";

const KNOWN: [&str; 57] = [
    "attend_group_change",
    "attendance_approve_status_change",
    "attendance_check_record",
    "attendance_overtime_duration",
    "attendance_schedule_change",
    "bpms_instance_change",
    "bpms_task_change",
    "calendar_event_change",
    "chat_add_member",
    "chat_disband",
    "chat_quit",
    "chat_remove_member",
    "chat_update_owner",
    "chat_update_title",
    "check_create_suite_url",
    "check_in",
    "check_update_suite_url",
    "check_url",
    "crm_contact_call",
    "crm_customer_update",
    "drive_file_change",
    "edu_dept_delete",
    "edu_dept_insert",
    "edu_dept_update",
    "edu_user_delete",
    "edu_user_insert",
    "edu_user_relation_delete",
    "edu_user_relation_insert",
    "edu_user_relation_update",
    "edu_user_update",
    "im_cool_app_install",
    "im_cool_app_uninstall",
    "isw_user_msg_received",
    "label_conf_add",
    "label_conf_del",
    "label_conf_modify",
    "label_user_change",
    "meetingroom_book",
    "meetingroom_room_info",
    "org_admin_add",
    "org_admin_remove",
    "org_change",
    "org_dept_create",
    "org_dept_modify",
    "org_dept_remove",
    "org_remove",
    "robot_msg_read",
    "robot_msg_recall",
    "suite_relieve",
    "suite_ticket",
    "tmp_auth_code",
    "user_active_org",
    "user_add_org",
    "user_leave_org",
    "user_modify_org",
    "user_role_change",
    "change_auth",
];

/// The word for `kind`.
pub fn label(kind: &str) -> &'static str {
    KNOWN.into_iter().find(|known| *known == kind).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_documented_types_are_words_of_their_own() {
        for kind in ["user_add_org", "check_url", "robot_msg_recall", "bpms_instance_change"] {
            assert_eq!(label(kind), kind);
        }
        for kind in ["", "user_add_org ", "type_17", "USER_ADD_ORG", "another"] {
            assert_eq!(label(kind), OTHER, "{kind}");
        }
    }
}
