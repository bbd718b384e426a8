//! Simplified Chinese.
//!
//! The words as people read them, and how lengths of time are said. What is said when is decided
//! elsewhere. A new word is an arm here and in every other catalogue.

use std::time::Duration;

use super::{Word, hours};
use crate::domain::status::{Status, Work};

pub(super) fn text(word: Word) -> &'static str {
    match word {
        Word::Unbound => "该机器人尚未绑定专家，请联系管理员。",
        Word::ExpertAway => "专家暂时不在，您的消息已保留，稍后会回复您。",
        Word::Failed => "您的问题未能得到回答，管理员已收到通知。",
        Word::Unsupported => "暂不支持此类消息，请发送文字。",
        Word::Stopped => "已停止。",
        Word::SessionNew => "下一条消息将开启新会话。",
        Word::SessionEnded => "会话已结束。",
        Word::ActionExpired => "该操作已失效。",
        Word::ActionForeign => "只有提问者本人可以操作。",
        Word::Queued => "消息已收到，将在上一条回答完成后处理。",
        Word::Help => "/new 新会话\n/end 结束会话\n/stop 停止回答\n/status 状态\n/help 帮助",
        Word::ConfirmTitle => "请确认",
        Word::Confirm => "确认",
        Word::Reject => "拒绝",
        Word::End => "结束会话",
        Word::AskedInPrivate => "操作按钮已通过单聊发送给提问者本人。",
        Word::AskedInWords => "请直接给我发消息，告知您的决定；发送 /end 可结束会话。",
        Word::AskedInVain => "该问题所属的会话已结束，无法再作答，请重新提问。",
        Word::Confirmed => "已确认",
        Word::Rejected => "已拒绝",
        Word::AnsweredOtherwise => "已通过消息答复",
        Word::QuestionStopped => "已停止",
        Word::QuestionEnded => "会话已结束",
        Word::QuestionExpired => "已过期",
        Word::FileTooLarge => "文件太大，无法读取，请发送较小的文件。",
        Word::PageAskEnd => "是否结束当前会话？",
        Word::PageAskConfirm => "是否确认？",
        Word::PageAskReject => "是否拒绝？",
        Word::PageConfirmed => "已确认，请回到钉钉查看回复。",
        Word::PageRejected => "已拒绝，请回到钉钉查看回复。",
        Word::PageWrong => "此链接无效。",
        Word::PageOver => "此链接已过期或已使用。",
        Word::PageNotNow => "暂时无法处理，请稍后重试。",
        Word::AnswerCut => "（回答过长，其余部分未显示。）",
        Word::AnswerTitle => "回复",
        Word::InlinePicture => "图片",
        Word::InlineFile => "附件",
        Word::MarkPicture => "图片{n}",
        Word::MarkVoice => "语音{n}",
        Word::MarkVideo => "视频{n}",
        Word::MarkFile => "文件{n}",
        Word::MarkTooLarge => "超过大小上限",
        Word::MarkUnreadable => "无法读取",
        Word::MarkContent => "内容",
        Word::MarkQuote => "引用的消息",
        Word::MarkLeftOut => "[另有{n}个未传送：数量过多]",
    }
}

pub(super) fn chosen(action: &str) -> String {
    format!("已选择：{action}")
}

pub(super) fn asked_in(group: &str) -> String {
    format!("来自群聊「{group}」的提问：")
}

pub(super) fn status(status: &Status) -> String {
    let expert = status.expert.as_ref().map_or("无", |expert| expert.as_str());
    let session = match &status.session {
        None => "无".to_owned(),
        Some(open) => {
            let age = open.age.map(|age| format!("已进行{}，", long(age))).unwrap_or_default();
            format!("{age}无消息{}后结束", long(open.ends_after))
        }
    };
    let work = match status.work {
        Work::Idle => "",
        Work::Answering => "当前：正在回答\n",
        Work::Waiting => "当前：等待专家\n",
    };
    let waiting = status.waiting;
    format!("专家：{expert}\n会话：{session}\n{work}等待处理的消息：{waiting}")
}

fn long(duration: Duration) -> String {
    match hours(duration) {
        (0, 0) => "不到 1 分钟".to_owned(),
        (0, minutes) => format!(" {minutes} 分钟"),
        (hours, minutes) => format!(" {hours} 小时 {minutes} 分钟"),
    }
}
