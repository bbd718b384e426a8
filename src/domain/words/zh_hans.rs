//! Simplified Chinese.

use super::Word;

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
        Word::Help => "/new 新会话\n/end 结束会话\n/stop 停止回答\n/status 状态\n/help 帮助",
        Word::ConfirmTitle => "请确认",
        Word::Confirm => "确认",
        Word::Reject => "拒绝",
        Word::End => "结束会话",
        Word::FileTooLarge => "文件太大，无法读取，请发送较小的文件。",
        Word::MarkPicture => "图片{n}",
        Word::MarkVoice => "语音{n}",
        Word::MarkVideo => "视频{n}",
        Word::MarkFile => "文件{n}",
        Word::MarkTooLarge => "超过大小上限",
        Word::MarkUnreadable => "无法读取",
        Word::MarkLeftOut => "[另有{n}个未传送：数量过多]",
    }
}
